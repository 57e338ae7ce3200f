/** Compute, whole, on a host of its own: joining, and the life of an instance from start to gone. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { ComputeHost, TestUnderlay } from "./support/compute-host.ts";
import { FakeVstation, type FakeHostSession } from "./support/fake-vstation.ts";
import { until } from "./support/until.ts";
import { testSubnet, tinyInstance } from "./support/wanted-documents.ts";

let underlay: TestUnderlay;
let vstation: FakeVstation;
let host: ComputeHost;
let session: FakeHostSession;

beforeAll(async () => {
  underlay = new TestUnderlay();
  vstation = await FakeVstation.start(underlay.address);
  const agents = { port: vstation.port, caFingerprint: vstation.caFingerprint, token: vstation.newToken() };
  host = await ComputeHost.start({ underlay, number: 1, agents });
  session = vstation.session(host.name);
  session.subnets = [testSubnet];
  host.startCompute();
  await until(() => session.hello !== null, "hello");
});

afterAll(async () => {
  await host?.stop();
  await vstation?.stop();
  underlay?.remove();
});

test("a guest runs, answers on its address, and is gone without a trace", async () => {
  const wanted = tinyInstance();
  session.want(wanted);
  const phase = await session.untilPhase(wanted.id, "running");
  expect(phase).toMatchObject({ incarnation: 1, resets: 0 });
  await until(
    () => host.sh(`busybox ping -c1 -W1 ${wanted.spec.nics[0]?.ip} >/dev/null && echo up || true`).trim() === "up",
    "ping",
  );
  session.want({ ...wanted, power: { state: "gone" } });
  await session.untilPhase(wanted.id, "gone");
  expect(host.sh(`ls ${host.stateDir}/instances; ls /etc/libvirt/qemu/*.xml 2>/dev/null || true`).trim()).toBe("");
});
