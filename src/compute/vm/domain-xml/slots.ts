/**
 * Where the guest's devices sit: the machine's PCI layout in one place.
 *
 * All that is there from the start sits on the root complex itself, and not, as libvirt would place it, each behind a PCIe root port of its own.
 * Of such a port nothing is had but that a device behind it could be pulled out, and it costs twice: the guest's boot finds a bus more, and
 * QEMU at the target of a move reads a device more while the guest is paused, each of them a rebuilding of the guest's address map, which
 * grows with every bus (measured: decision 24).
 *
 * Guests name disks in the order of the bus: the system disk comes first, then the seed, and what is behind the bridge last.
 *
 * What a running guest has cannot change, and a move takes it as it is: a target that would make another layout refuses it (core/migration/
 * preflight.ts). Whoever changes this table gives the layout a new number.
 */

/** 1: a root port for each device, as libvirt places them. */
export const layout = 2;

/** Of a running guest, by the bus that its system disk is on, as QEMU names that. */
export function layoutOf(bus: string): number {
  return bus.endsWith("/pcie.0") ? layout : 1;
}

/** Slot 1 is the display's, by libvirt. */
export const slots = {
  systemDisk: 2,
  seed: 3,
  /** Eight, one after the other. */
  nics: 4,
  serial: 12,
  rng: 13,
  balloon: 14,
  dataDiskBridge: 16,
} as const;

/** On the root complex. */
export const rootBus = 0;

const hex = (n: number): string => `0x${n.toString(16).padStart(2, "0")}`;

export function pciAddress(bus: number, slot: number): string {
  return `      <address type='pci' domain='0x0000' bus='${hex(bus)}' slot='${hex(slot)}' function='0x0'/>`;
}
