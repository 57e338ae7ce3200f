/**
 * The guest's network cards.
 *
 * - No option ROM: nothing boots from the network, and SeaBIOS would load it.
 * - A queue per vCPU, up to what the type has; with several the guest's driver spreads its flows over them by itself.
 * - libvirt takes vhost where the host has it; naming it would only make the start fail where there is none.
 */
import { pciAddress, rootBus, slots } from "./slots.ts";
import { attribute } from "./xml.ts";

export interface DomainNic {
  readonly mac: string;
  readonly bridge: string;
  readonly tap: string;
  readonly mtu: number;
}

export function nic(it: DomainNic, index: number, queues: number): string[] {
  return [
    `    <interface type='bridge'>`,
    `      <mac address='${attribute(it.mac)}'/>`,
    `      <source bridge='${attribute(it.bridge)}'/>`,
    `      <target dev='${attribute(it.tap)}'/>`,
    `      <model type='virtio-non-transitional'/>`,
    ...(queues > 1 ? [`      <driver queues='${queues}' rx_queue_size='1024'/>`] : []),
    `      <mtu size='${it.mtu}'/>`,
    `      <rom enabled='no'/>`,
    pciAddress(rootBus, slots.nics + index),
    `    </interface>`,
  ];
}
