import { expect, test } from "vitest";
import type { DiskId } from "../../lib/ids.ts";
import { machineDisks } from "./live-disks.ts";

const system = "disk-system01" as DiskId;

/** As QEMU 10.0 answered for a machine of ours, shortened to what is read. */
const answer = [
  {
    qdev: "/machine/peripheral/ua-disk-aaaaaaaa/virtio-backend",
    inserted: { "node-name": "libvirt-3-format", image: { "virtual-size": 3221225472 }, bps: 20000000, iops: 500 },
  },
  {
    qdev: "/machine/peripheral/virtio-disk1/virtio-backend",
    inserted: { image: { "virtual-size": 380928 }, bps: 0, iops: 0 },
  },
  {
    qdev: "/machine/peripheral/virtio-disk0/virtio-backend",
    inserted: { image: { "virtual-size": 2147483648 }, bps: 0, iops: 0 },
  },
];

test("our disks are told by their alias, an older machine's system disk by libvirt's, and the seed is left out", () => {
  expect(machineDisks(answer, system)).toEqual([
    { id: "disk-aaaaaaaa", bytes: 3221225472, limits: { bytes: 20000000, iops: 500 } },
    { id: system, bytes: 2147483648, limits: { bytes: null, iops: null } },
  ]);
});

test("an answer of another form is an error, never an empty machine", () => {
  expect(() => machineDisks({ error: {} }, system)).toThrow(/list/);
  expect(machineDisks([null, {}, { qdev: 7 }], system)).toEqual([]);
});
