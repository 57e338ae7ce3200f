/** What the guest boots from: a kernel given by hand, or its disk by a firmware; and what that firmware shows of the machine. */
import { text } from "./xml.ts";

export type DomainBoot =
  | { readonly kind: "direct"; readonly kernel: string; readonly initrd: string | null; readonly cmdline: string }
  | { readonly kind: "disk"; readonly firmware: "bios" | "uefi" };

export function osElement(how: DomainBoot): string[] {
  return [
    how.kind === "disk" && how.firmware === "uefi" ? `  <os firmware='efi'>` : `  <os>`,
    `    <type arch='x86_64' machine='q35'>hvm</type>`,
    ...boot(how),
    `  </os>`,
  ];
}

export const platform: readonly string[] = [`  <features><acpi/><apic/><vmport state='off'/></features>`];

export const clock: readonly string[] = [
  `  <clock offset='utc'>`,
  `    <timer name='rtc' tickpolicy='catchup'/>`,
  `    <timer name='pit' tickpolicy='delay'/>`,
  `    <timer name='hpet' present='no'/>`,
  `  </clock>`,
];

function boot(how: DomainBoot): string[] {
  if (how.kind === "disk") return [`    <boot dev='hd'/>`];
  return [
    `    <kernel>${text(how.kernel)}</kernel>`,
    ...(how.initrd === null ? [] : [`    <initrd>${text(how.initrd)}</initrd>`]),
    `    <cmdline>${text(how.cmdline)}</cmdline>`,
  ];
}
