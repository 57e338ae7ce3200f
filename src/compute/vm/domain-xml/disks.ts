/**
 * The guest's disks.
 *
 * - The seed is a read-only virtio disk, not a CD: a guest needs one driver less, and q35's AHCI is not brought up for it.
 * - The backing chain is written out, so that libvirt does not open and probe images at each start.
 * - `error_policy='enospace'`: a full disk pauses the guest (Compute resumes it); any other error is the guest's to see.
 */
import { attribute, text } from "./xml.ts";

export interface DomainDisk {
  readonly id: string;
  readonly file: string;
  readonly cache: "none" | "writeback";
  readonly backing: { readonly file: string; readonly format: "qcow2" | "raw" } | null;
}

export function systemDisk(disk: DomainDisk): string[] {
  return [
    `    <disk type='file' device='disk'>`,
    `      <driver name='qemu' type='qcow2' cache='${disk.cache}' discard='unmap' error_policy='enospace'/>`,
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
