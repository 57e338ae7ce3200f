import { describe, expect, test } from "vitest";
import { newId } from "../../lib/ids.ts";
import { refusalsOf, type SourceFacts, type TargetFacts } from "./preflight.ts";

const mib = 2 ** 20;
const disk = newId("disk");
const common = {
  cpuFeatures: ["avx", "sse2"],
  machineType: "pc-q35-10.0",
  layout: 2,
  qemu: "10.0.2",
  sharedFolder: "made then",
  disks: [{ id: disk, bytes: 1024 }],
  nowMs: 1_000,
};
const source: SourceFacts = {
  ...common,
  ...{ guest: "running", busy: null, blocked: [], memoryBytes: 1024 * mib, residentBytes: 100 * mib },
};
const target: TargetFacts = {
  ...common,
  ...{ local: null, freeBytes: 200 * mib, hugepages: false, freePorts: 64, postcopy: false, imageHere: true },
};

interface Case {
  readonly from?: Partial<SourceFacts>;
  readonly to?: Partial<TargetFacts>;
  readonly skewMs?: number;
  readonly reason: string | null;
  readonly says?: string;
}

const cases: Record<string, Case> = {
  "equal hosts": { reason: null },
  "a newer QEMU that makes the same machine": { to: { qemu: "10.1.0" }, reason: null },
  "a little more than is sent": { to: { freeBytes: 111 * mib }, reason: null },
  "clocks that are nearly equal": { skewMs: -20_000, reason: null },
  "a guest without shared disks, and no folder": {
    from: { disks: [] },
    to: { disks: [], sharedFolder: null },
    reason: null,
  },
  "a guest that is paused": { from: { guest: "paused" }, reason: "guest_not_running" },
  "a guest that is copied": { from: { busy: "QEMU is copying a disk of it" }, reason: "guest_busy" },
  "a device that does not go": { from: { blocked: ["vfio"] }, reason: "guest_blocked", says: "vfio" },
  "a feature less": { to: { cpuFeatures: ["sse2"] }, reason: "cpu_differs", says: "lacks what the guest has: avx" },
  "a feature more": { to: { cpuFeatures: ["avx", "sse2", "avx2"] }, reason: "cpu_differs", says: "with avx2" },
  "another layout of devices": { from: { layout: 1 }, reason: "machine_differs", says: "stopped and started" },
  "another machine": { to: { machineType: "pc-q35-9.2" }, reason: "machine_differs", says: "pc-q35-9.2" },
  "an older QEMU": { to: { qemu: "9.2.10" }, reason: "machine_differs", says: "the older 9.2.10" },
  "something that lies on its host": { to: { local: "the state of its TPM lies on its host" }, reason: "state_local" },
  "no shared folder": { to: { sharedFolder: null }, reason: "disk_missing" },
  "another shared folder": { to: { sharedFolder: "made later" }, reason: "disk_differs" },
  "no disk": { to: { disks: [] }, reason: "disk_missing", says: disk },
  "another disk": { to: { disks: [{ id: disk, bytes: 2048 }] }, reason: "disk_differs", says: "2048 at the target" },
  "little memory": { to: { freeBytes: 109 * mib }, reason: "memory_missing", says: "needs 110 MiB of memory" },
  "few hugepages": { to: { hugepages: true }, reason: "memory_missing", says: "needs 1024 MiB in hugepages" },
  "no free port": { to: { freePorts: 0 }, reason: "ports_taken" },
  "clocks apart": { skewMs: -60_000, reason: "clock_differs", says: "60 s behind" },
};

describe("a move is refused for", () => {
  test.each(Object.entries(cases))("%s", (_, { from, to, skewMs = 0, reason, says = "" }) => {
    const found = refusalsOf({ ...source, ...from }, { ...target, ...to }, skewMs);
    expect(found.map((each) => each.reason)).toEqual(reason === null ? [] : [reason]);
    expect(found.map(({ message }) => message).join()).toContain(says);
  });

  test.each([
    ["no userfaultfd", { postcopy: false }, false, "userfaultfd"],
    ["hugepages", { postcopy: true, hugepages: true, freeBytes: 1024 * mib }, false, "hugepages"],
    ["disks of the host's own", { postcopy: true }, true, "disks of the guest"],
  ] as const)("%s, where it is to be by post-copy and not otherwise", (_, to, localDisks, says) => {
    const found = (postcopy: boolean) => refusalsOf(source, { ...target, ...to }, 0, { postcopy, localDisks });
    expect(found(true)).toEqual([{ reason: "postcopy_unavailable", message: expect.stringContaining(says) as string }]);
    expect(found(false)).toEqual([]);
  });

  test("every reason at once", () => {
    const found = refusalsOf({ ...source, guest: "paused" }, { ...target, freePorts: 0, cpuFeatures: [] }, 1e9);
    expect(found.map(({ reason }) => reason)).toEqual([
      "guest_not_running",
      "cpu_differs",
      "ports_taken",
      "clock_differs",
    ]);
  });
});
