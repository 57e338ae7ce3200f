/**
 * Compute dies at every crash point of its source, comes back as its supervisor would bring it back, and the instance's life goes on
 * to its end: each incarnation was launched once, what was asked for came, and nothing is left over.
 */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { crashPoints } from "../faults/points.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { testSubnet, tinyInstance } from "./support/wanted-documents.ts";

let bed: ComputeBed;
let host: ComputeHost;
let session: FakeHostSession;

beforeAll(async () => {
  bed = await ComputeBed.begin();
  ({ host, session } = await bed.host());
});

afterAll(() => bed?.end());

/** Points that are killed at in tests of their own, as those say themselves. */
const otherTests = [
  "compute-disks.test.ts",
  "compute-migration.test.ts",
  "migration-tls.test.ts",
  "migration-local-disks.test.ts",
  "migration-postcopy.test.ts",
  "renewal.test.ts",
]
  .map((file) => readFileSync(join(import.meta.dirname, file), "utf8"))
  .join("\n");

/**
 * Neither there nor on the way of an instance alone: `npm run test:faults` kills at all of them, `npm test` at some that it draws
 * (faults.test.ts). Each by its name, so that a new point is not passed here, and fails, until it has been given a place.
 */
const drawn: ReadonlySet<string> = new Set([
  "disk.grow.done",
  "disk.make.renamed",
  "disk.make.written",
  "job.backup.ended",
  "job.backup.target-added",
  "job.delete.removed",
  "job.forget.cleaned",
  "job.run.recorded",
  "job.snapshot.written",
  "machine.allotment.written",
  "vm.disk-grow.done",
  "vm.disk-limit.done",
  "vm.disk-plug.made",
]);

const names = crashPoints().flatMap(({ program, name }) => (program === "compute" ? [name] : []));
const points = names.filter((name) => !otherTests.includes(`"${name}"`) && !drawn.has(name));

test("leaves to others only points that there are", () => {
  expect([...drawn].filter((name) => !names.includes(name) || otherTests.includes(`"${name}"`))).toEqual([]);
});

test.each(points)("dies at %s", async (name) => {
  const marker = join(host.dir, `died-${name}`);
  // Joining and the first pass of the network happen once in a host's life: each case begins with a host that knows nothing.
  host.sh(
    `rm -rf ${host.stateDir}/identity; ip -br link | awk '/^(br|vx)-/ {sub("@.*", "", $1); print $1}' | xargs -rn1 ip link del`,
  );
  writeFileSync(join(host.dir, "token"), bed.vstation.newToken());
  const supervised = host.superviseCompute({ VSTATION_CRASH_AT: name, VSTATION_CRASH_ONCE: marker });
  try {
    await liveThrough(session, host);
    session.setPeers([]);
    session.peers = [];
    await until(`${name} to be passed`, () => existsSync(marker));
    await until("Compute to be back", () => session.socket !== null);
    expect(session.seen.size).toBe(0);
  } finally {
    await supervised.stop();
  }
});

async function liveThrough(to: FakeHostSession, on: ComputeHost): Promise<void> {
  const wanted = tinyInstance();
  const { id } = wanted;
  to.setPeers([
    {
      subnetId: testSubnet.id,
      ip: "10.77.200.1",
      mac: "52:54:00:77:02:01",
      vtep: bed.underlay.address,
      name: null,
      groupIds: [],
    },
  ]);
  to.want(wanted);
  await to.untilPhase(id, "running");
  to.want({ ...wanted, power: { state: "running", incarnation: 1, resets: 1 } });
  await until("the reset to be reported", () => JSON.stringify(to.phase(id)).includes('"resets":1'));
  to.want({ ...wanted, power: { state: "stopped", how: "soft" } });
  await to.untilPhase(id, "stopping");
  const pressed = (): boolean =>
    on.computeLog().includes(`"instance":"${id}","step":"press"`) || to.phase(id)?.is === "stopped";
  await until("the button to be pressed", () => pressed());
  to.want({ ...wanted, power: { state: "stopped", how: "hard" } });
  await to.untilPhase(id, "stopped");
  const [nic] = wanted.spec.nics;
  if (nic === undefined) throw new Error("no nic");
  const spec = { ...wanted.spec, nics: [{ ...nic, ip: "10.77.0.250" }] };
  to.want({ ...wanted, spec, power: { state: "running", incarnation: 2, resets: 0 } });
  expect(await to.untilPhase(id, "running")).toMatchObject({ incarnation: 2 });
  expect(on.sh("cat /run/vstation/network/*/hosts/*").trim()).toBe(`${nic.mac},10.77.0.250,infinite`);
  const launches = on.sh(`grep -c 'starting up' /var/log/libvirt/qemu/${id}.log`).trim();
  expect(launches).toBe("2");
  to.want({ ...wanted, power: { state: "gone" } });
  await to.untilPhase(id, "gone");
  const left = `ls ${on.stateDir}/instances; ls /etc/libvirt/qemu/*.xml 2>/dev/null; ip -o link | grep t0- || true`;
  expect(on.sh(left).trim()).toBe("");
  await until("the lease to be gone", () => on.sh("ls /run/vstation/network/*/hosts").trim() === "");
  to.forget(id);
  await until("the instance to be forgotten", () => !to.seen.has(id));
}
