/** The guest's network cards. No option ROM: nothing boots from the network, and SeaBIOS would load it. */
import { attribute } from "./xml.ts";

export interface DomainNic {
  readonly mac: string;
  readonly bridge: string;
  readonly tap: string;
  readonly mtu: number;
}

export function nic(it: DomainNic): string[] {
  return [
    `    <interface type='bridge'>`,
    `      <mac address='${attribute(it.mac)}'/>`,
    `      <source bridge='${attribute(it.bridge)}'/>`,
    `      <target dev='${attribute(it.tap)}'/>`,
    `      <model type='virtio'/>`,
    `      <mtu size='${it.mtu}'/>`,
    `      <rom enabled='no'/>`,
    `    </interface>`,
  ];
}
