/**
 * The guest's disks.
 *
 * - The seed is a read-only virtio disk, not a CD: a guest needs one driver less, and q35's AHCI is not brought up for it.
 * - The backing chain is written out, so that libvirt does not open and probe images at each start.
 * - `io='io_uring'` where the kernel lets QEMU have it, else `native` (which needs direct I/O), else threads: Compute tries once.
 * - `error_policy='enospace'`: a full disk pauses the guest (Compute resumes it); any other error is the guest's to see.
 */
import { attribute, text } from "./xml.ts";

/** How QEMU waits for the host's storage. */
export type DiskIo = "io_uring" | "native" | "threads";

export interface DomainDisk {
  readonly id: string;
  readonly file: string;
  readonly cache: "none" | "writeback";
  readonly io: DiskIo;
  readonly backing: { readonly file: string; readonly format: "qcow2" | "raw" } | null;
}

/** The thread of QEMU that serves the `index`-th disk; without any the main loop does. */
function iothreadOf(index: number, iothreads: number): string {
  return iothreads === 0 ? "" : ` iothread='${(index % iothreads) + 1}'`;
}

export function systemDisk(disk: DomainDisk, iothreads: number): string[] {
  const io = ` io='${disk.io}'${iothreadOf(0, iothreads)}`;
  return [
    `    <disk type='file' device='disk'>`,
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
    `      <target dev='vda' bus='virtio'/>`,
    `      <serial>${text(disk.id)}</serial>`,
    `    </disk>`,
  ];
}

export function seedDisk(file: string): string[] {
  return [
    `    <disk type='file' device='disk'>`,
    `      <driver name='qemu' type='raw' cache='writeback'/>`,
    `      <source file='${attribute(file)}'/>`,
    `      <backingStore/>`,
    `      <target dev='vdb' bus='virtio'/>`,
    `      <readonly/>`,
    `    </disk>`,
  ];
}
