/** What Compute leans on goes away and comes back: libvirtd killed or frozen, VStation gone, an answer lost, a host that loses power. */
import { join } from "node:path";
import { pino } from "pino";
import { afterAll, beforeAll, beforeEach, expect, test } from "vitest";
import type { WantedInstance } from "../../src/api/agent.ts";
import { domainUuid } from "../../src/compute/vm/mark.ts";
import { openLibvirt } from "../../src/libvirt/open.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { tinyInstance } from "./support/wanted-documents.ts";

let bed: ComputeBed;
let host: ComputeHost;
let session: FakeHostSession;
type Wanted = Omit<WantedInstance, "generation">;

beforeAll(async () => {
  bed = await ComputeBed.begin();
  ({ host, session } = await bed.host());
  host.startCompute();
});

beforeEach(async () => {
  await until(
    "Compute and libvirt to be well",
    () => session.socket !== null && session.check("libvirt") === "ok",
    90_000,
  );
});

afterAll(() => bed?.end());

async function startGuest(): Promise<Wanted> {
  const wanted = tinyInstance();
  session.want(wanted);
  await session.untilPhase(wanted.id, "running");
  return wanted;
}

async function endGuest(wanted: Wanted): Promise<void> {
  session.want({ ...wanted, power: { state: "gone" } });
  await session.untilPhase(wanted.id, "gone");
}

/** What Compute writes to its log from now on. */
function logFromNow(): () => string {
  const from = host.computeLog().length;
  return () => host.computeLog().slice(from);
}

const launches = (wanted: Wanted): number =>
  Number(host.sh(`grep -c 'starting up' /var/log/libvirt/qemu/${wanted.id}.log`));

test("a libvirtd that is killed takes no guest along, and is told of when it is away", async () => {
  const wanted = await startGuest();
  const pid = host.qemuPid(wanted.id);
  await host.signalLibvirtd("SIGKILL");
  await until("the report that libvirt is away", () => session.check("libvirt") === "error");
  expect(session.phase(wanted.id)?.is).toBe("running");
  const later = tinyInstance();
  session.want(later);
  await until("the new one to wait for libvirt", () => session.phase(later.id)?.is === "preparing");
  await host.startLibvirtd();
  await session.untilPhase(later.id, "running", 90_000);
  expect(host.qemuPid(wanted.id)).toBe(pid);
  host.sh(`kill -9 ${pid}`);
  expect(await session.untilPhase(wanted.id, "exited")).toMatchObject({ reason: "guest_crashed" });
  await endGuest(wanted);
  await endGuest(later);
});

test("a guest that ends while libvirtd is away has exited when it is back", async () => {
  const wanted = await startGuest();
  const pid = host.qemuPid(wanted.id);
  await host.signalLibvirtd("SIGKILL");
  host.sh(`kill -9 ${pid}`);
  await host.startLibvirtd();
  expect(await session.untilPhase(wanted.id, "exited", 90_000)).toMatchObject({
    incarnation: 1,
    reason: "guest_crashed",
  });
  await endGuest(wanted);
});

test("a libvirtd that comes back while QEMU still works on what the one before asked takes no guest along", async () => {
  const wanted = await startGuest();
  const pid = host.qemuPid(wanted.id);
  // QEMU opens the file before it does anything else, and a pipe opens when somebody reads from it: so long is the command under way.
  host.sh("mkfifo /run/pipe");
  const libvirt = openLibvirt({
    socketPath: join(host.dir, "run/libvirt/libvirt-sock"),
    log: pino({ level: "silent" }),
  });
  try {
    await libvirt.ready();
    const domain = await libvirt.domainLookupByUuid(domainUuid(wanted.id));
    if (domain === undefined) throw new Error("libvirt does not know the guest");
    const command = libvirt
      .qmp(domain, "pmemsave", { val: 0, size: 4096, filename: "/run/pipe" })
      .catch(() => undefined);
    await until(
      "QEMU to wait for a reader",
      () => host.sh(`cat /proc/${pid}/task/${pid}/wchan`) === "wait_for_partner",
    );
    await host.signalLibvirtd("SIGKILL");
    await command;
  } finally {
    await libvirt.close();
  }
  // Somebody has said hello to QEMU, whoever speaks first: what drains its monitor, or libvirtd, whose log then tells it.
  host.sh(
    `sed -i 's/^log_outputs.*/log_outputs = "1:file:\\/run\\/monitor.log"\\nlog_filters = "1:qemu.qemu_monitor 4:*"/' /etc/libvirt/libvirtd.conf`,
  );
  const back = host.startLibvirtd();
  const hello =
    "pgrep -f '[d]rain-monitors' > /dev/null && ss -xH state established | grep monitor.sock || grep -s SEND_MSG.*qmp_capabilities /run/monitor.log || true";
  await until("somebody at QEMU's monitor", () => host.sh(hello) !== "", 60_000);
  host.sh("cat /run/pipe > /dev/null; rm /run/pipe");
  await back;
  await until("libvirt to be well", () => session.check("libvirt") === "ok", 90_000);
  session.want({ ...wanted, power: { state: "running", incarnation: 1, resets: 1 } });
  await until("a reset of the guest", () => JSON.stringify(session.phase(wanted.id)).includes('"resets":1'), 60_000);
  expect(host.qemuPid(wanted.id)).toBe(pid);
  await endGuest(wanted);
});

test("a libvirtd that is frozen under a start delays it; the start happens once", async () => {
  await host.signalLibvirtd("SIGSTOP");
  const wanted = tinyInstance();
  session.want(wanted);
  await until("the report that libvirt does not answer", () => session.check("libvirt") === "error", 120_000);
  await host.signalLibvirtd("SIGCONT");
  await session.untilPhase(wanted.id, "running", 120_000);
  expect(launches(wanted)).toBe(1);
  await endGuest(wanted);
});

test("without VStation a Compute that starts anew looks after its guests by what it has kept", async () => {
  const wanted = await startGuest();
  const ending = await startGuest();
  const pid = host.qemuPid(wanted.id);
  bed.vstation.accepting = false;
  await host.killCompute();
  const log = logFromNow();
  host.startCompute();
  host.sh(`kill -9 ${host.qemuPid(ending.id)}`);
  await until("Compute to look for VStation", () => log().includes("VStation is not reachable"));
  session.seen.clear();
  bed.vstation.accepting = true;
  await session.untilPhase(wanted.id, "running");
  expect(await session.untilPhase(ending.id, "exited")).toMatchObject({ incarnation: 1 });
  expect(host.qemuPid(wanted.id)).toBe(pid);
  expect(session.hello?.wantedGeneration).toBe(session.generation);
  await endGuest(wanted);
  await endGuest(ending);
});

test("a report whose answer is lost is made again; VStation's silence ends the connection and a new one is made", async () => {
  session.acknowledge = false;
  const wanted = tinyInstance();
  session.want(wanted);
  const told = (): number => session.history.filter((one) => one.id === wanted.id).length;
  await until("the report to be repeated", () => told() >= 3, 60_000);
  session.acknowledge = true;
  await session.untilPhase(wanted.id, "running");
  const { hellos } = session;
  const log = logFromNow();
  // The cable is cut: no packet says that the connection is over.
  host.sh("ip link set eth0 down");
  await until("the silence to be noticed", () => log().includes("nothing heard for"), 60_000);
  host.sh(`ip link set eth0 up; ip route replace default via ${bed.underlay.address}`);
  await until("a new connection", () => session.hellos > hellos, 60_000);
  expect(launches(wanted)).toBe(1);
  await endGuest(wanted);
});

test("after the host lost power nothing is started by itself, and why is said", async () => {
  const wanted = await startGuest();
  await host.killCompute();
  await host.powerCut();
  host.startCompute();
  expect(await session.untilPhase(wanted.id, "exited", 90_000)).toMatchObject({
    incarnation: 1,
    reason: "host_restarted",
  });
  session.want({ ...wanted, power: { state: "running", incarnation: 2, resets: 0 } });
  await session.untilPhase(wanted.id, "running", 90_000);
  await endGuest(wanted);
});
