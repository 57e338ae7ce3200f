/**
 * The guest's other devices.
 *
 * - The serial log's name carries the incarnation: its existence is the evidence core/ensure.ts asks for.
 * - VNC listens on a socket in libvirt's folder of the domain: no port is open on any host.
 * - The serial console is a socket of QEMU's own and not one of libvirt's streams: whoever vanishes from a stream while the guest
 *   writes leaves libvirtd waiting for ever for a lock that it holds (docs/decisions/0007-consoles-beside-libvirt.md).
 */
import { pciAddress, rootBus, slots } from "./slots.ts";
import { attribute } from "./xml.ts";

export interface DomainConsole {
  readonly log: string;
  readonly socket: string;
}

export function serial(console: DomainConsole): string[] {
  return [
    `    <serial type='unix'>`,
    `      <source mode='bind' path='${attribute(console.socket)}'/>`,
    `      <log file='${attribute(console.log)}' append='on'/>`,
    `      <target type='isa-serial' port='0'/>`,
    `    </serial>`,
  ];
}

export const fixedDevices: readonly string[] = [
  `    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`,
  `    <graphics type='vnc'><listen type='socket'/></graphics>`,
  `    <video><model type='vga' vram='16384'/></video>`,
  `    <controller type='virtio-serial' index='0' model='virtio-non-transitional'>`,
  pciAddress(rootBus, slots.serial),
  `    </controller>`,
  `    <rng model='virtio-non-transitional'>`,
  `      <backend model='random'>/dev/urandom</backend>`,
  pciAddress(rootBus, slots.rng),
  `    </rng>`,
  `    <memballoon model='virtio-non-transitional' freePageReporting='on'>`,
  pciAddress(rootBus, slots.balloon),
  `    </memballoon>`,
  `    <panic model='isa'/>`,
  `    <controller type='usb' model='none'/>`,
];
