/**
 * The guest's disks.
 *
 * - The seed is a read-only virtio disk, not a CD: a guest needs one driver less, and q35's AHCI is not brought up for it.
 * - The backing chain is written out, so that libvirt does not open and probe images at each start.
 * - `io='io_uring'` where the kernel lets QEMU have it, else `native` (which needs direct I/O), else threads: Compute tries once.
 * - `error_policy='enospace'`: a full disk pauses the guest (Compute resumes it); any other error is the guest's to see.
 * - The alias carries the disk's id, so that QEMU itself tells which disk it has, and the serial lets the guest find it
 *   (/dev/disk/by-id/virtio-disk-...).
 * - Data disks sit on one PCI bridge that is there from the start, each at the place of its slot. A PCIe root port for each of
 *   21 disks would do as well, but costs every guest's boot (measured under TCG, fastest of four boots of the tiny guest: 2.32 s
 *   without, 3.19 s with 22 root ports, 2.26 s with the bridge). The bridge is the last thing on the bus (slots.ts): guests name
 *   disks in that order, and the system disk is to be the first.
 */
import type { DiskLimits } from "../../../api/agent-storage.ts";
import type { DiskId } from "../../../lib/ids.ts";
import { pciAddress, rootBus, slots } from "./slots.ts";
import { attribute, text } from "./xml.ts";

/** How QEMU waits for the host's storage. */
export type DiskIo = "io_uring" | "native" | "threads";

export interface DomainDisk {
  readonly id: DiskId;
  readonly file: string;
  readonly cache: "none" | "writeback";
  readonly io: DiskIo;
  readonly backing: { readonly file: string; readonly format: "qcow2" | "raw" } | null;
  readonly limits: DiskLimits;
}

export interface DomainDataDisk extends DomainDisk {
  readonly slot: number;
}

const bridgeIndex = 2;

/** Where data disks are plugged, also while the guest runs. */
export const dataDiskBridge: readonly string[] = [
  `    <controller type='pci' index='1' model='pcie-root-port'>`,
  pciAddress(rootBus, slots.dataDiskBridge),
  `    </controller>`,
  `    <controller type='pci' index='${bridgeIndex}' model='pcie-to-pci-bridge'/>`,
];

/** The name of a disk in QEMU; libvirt demands the prefix. */
export function diskAlias(id: DiskId): string {
  return `ua-${id}`;
}

/** vdb is the seed. */
export const systemDiskTarget = "vda";
export function dataDiskTarget(slot: number): string {
  return `vd${String.fromCharCode("c".charCodeAt(0) + slot)}`;
}

/** The thread of QEMU that serves the `index`-th disk; without any the main loop does. */
function iothreadOf(index: number, iothreads: number): string {
  return iothreads === 0 ? "" : ` iothread='${(index % iothreads) + 1}'`;
}

export function systemDisk(disk: DomainDisk, iothreads: number): string[] {
  return diskElement(disk, systemDiskTarget, iothreadOf(0, iothreads), [pciAddress(rootBus, slots.systemDisk)]);
}

/** Also the document by which a running machine gets the disk. */
export function dataDisk(disk: DomainDataDisk, iothreads: number): string[] {
  return diskElement(disk, dataDiskTarget(disk.slot), iothreadOf(disk.slot + 1, iothreads), [
    pciAddress(bridgeIndex, disk.slot + 1),
  ]);
}

function diskElement(disk: DomainDisk, target: string, iothread: string, address: readonly string[]): string[] {
  const io = ` io='${disk.io}'${iothread}`;
  return [
    `    <disk type='file' device='disk' model='virtio-non-transitional'>`,
    `      <driver name='qemu' type='qcow2' cache='${disk.cache}'${io} discard='unmap' error_policy='enospace'/>`,
    `      <source file='${attribute(disk.file)}'/>`,
    ...(disk.backing === null
      ? [`      <backingStore/>`]
      : [
          `      <backingStore type='file'>`,
          `        <format type='${disk.backing.format}'/>`,
          `        <source file='${attribute(disk.backing.file)}'/>`,
          `        <backingStore/>`,
          `      </backingStore>`,
        ]),
    `      <target dev='${target}' bus='virtio'/>`,
    ...iotune(disk.limits),
    `      <serial>${text(disk.id)}</serial>`,
    `      <alias name='${diskAlias(disk.id)}'/>`,
    ...address,
    `    </disk>`,
  ];
}

function iotune({ bytes, iops }: DiskLimits): string[] {
  const parts = [
    ...(bytes === null ? [] : [`        <total_bytes_sec>${bytes}</total_bytes_sec>`]),
    ...(iops === null ? [] : [`        <total_iops_sec>${iops}</total_iops_sec>`]),
  ];
  return parts.length === 0 ? [] : [`      <iotune>`, ...parts, `      </iotune>`];
}

export function seedDisk(file: string): string[] {
  return [
    `    <disk type='file' device='disk' model='virtio-non-transitional'>`,
    `      <driver name='qemu' type='raw' cache='writeback'/>`,
    `      <source file='${attribute(file)}'/>`,
    `      <backingStore/>`,
    `      <target dev='vdb' bus='virtio'/>`,
    `      <readonly/>`,
    pciAddress(rootBus, slots.seed),
    `    </disk>`,
  ];
}
