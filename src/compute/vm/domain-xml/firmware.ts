/**
 * What the guest boots from: a kernel given by hand, or its disk by a firmware; and what that firmware shows of the machine. The
 * image decides it (core/image-manifest.ts).
 *
 * - UEFI is Debian's OVMF, named by file: libvirt's own choice by `firmware='efi'` would differ between hosts, and an instance that
 *   moves must find the same. Its variables (boot entries, enrolled keys) are a file of the instance, made from the template once.
 * - Secure boot is the build that keeps its variables behind SMM (`secure='yes'`), with the template that has Microsoft's and Debian's
 *   keys enrolled, so that signed loaders start and others do not. SMM costs a guest some speed in its firmware alone.
 * - A TPM is swtpm's, one process per guest, its state in the instance's folder.
 * - Hyper-V enlightenments make Windows trust its clock and spare it exits; they are KVM's, so without KVM there are none. Its
 *   clock runs in local time because Windows takes it for that.
 * Checked with libvirt 11.3 and QEMU 10.0.2: `<source type='dir'>` of a TPM needs libvirt 10.10; all of these hv_ flags are in
 * every kernel since 5.10 (docs/system/i386/hyperv.rst of QEMU).
 */
import type { Accelerator } from "./machine.ts";
import { attribute, text } from "./xml.ts";

export type DomainBoot =
  | { readonly kind: "direct"; readonly kernel: string; readonly initrd: string | null; readonly cmdline: string }
  | { readonly kind: "disk"; readonly firmware: "bios" }
  /** `nvram`: the instance's file of firmware variables. */
  | { readonly kind: "disk"; readonly firmware: "uefi"; readonly secureBoot: boolean; readonly nvram: string };

export interface DomainExtras {
  /** Folder of the TPM's state; null: the guest has none. */
  readonly tpm: string | null;
  readonly hyperv: boolean;
}

const fixedFeatures = "<acpi/><apic/><vmport state='off'/>";
/** Room for as many changed pages of a processor. QEMU holds one up each time its ring is full, and a pause waits for it: the smallest ring makes that shortest. */
const ring = "<kvm><dirty-ring state='on' size='1024'/></kvm>";

const ovmf = "/usr/share/OVMF";
export const ovmfFiles = {
  plain: { code: `${ovmf}/OVMF_CODE_4M.fd`, variables: `${ovmf}/OVMF_VARS_4M.fd` },
  secure: { code: `${ovmf}/OVMF_CODE_4M.ms.fd`, variables: `${ovmf}/OVMF_VARS_4M.ms.fd` },
} as const;

export function osElement(how: DomainBoot): string[] {
  return [`  <os>`, `    <type arch='x86_64' machine='q35'>hvm</type>`, ...boot(how), `  </os>`];
}

export function platform(
  how: DomainBoot,
  { hyperv }: DomainExtras,
  { accelerator, dirtyRing }: { readonly accelerator: Accelerator; readonly dirtyRing: boolean },
): string[] {
  const smm = isSecure(how) ? "<smm state='on'/>" : "";
  const common = `${fixedFeatures}${smm}${dirtyRing ? ring : ""}`;
  if (!hyperv || accelerator !== "kvm") {
    return [`  <features>${common}</features>`];
  }
  return [
    `  <features>`,
    `    ${common}`,
    `    <hyperv mode='custom'>`,
    ...["relaxed", "vapic"].map((name) => `      <${name} state='on'/>`),
    `      <spinlocks state='on' retries='8191'/>`,
    ...["vpindex", "runtime", "synic"].map((name) => `      <${name} state='on'/>`),
    `      <stimer state='on'><direct state='on'/></stimer>`,
    ...["reset", "frequencies", "reenlightenment", "tlbflush", "ipi"].map((name) => `      <${name} state='on'/>`),
    `    </hyperv>`,
    `  </features>`,
  ];
}

/** The machine of a guest that has a ring where it runs, or has none, whatever the zone's guests get that start now: libvirt moves it to its like alone. */
export function withDirtyRing(xml: string, has: boolean): string {
  const without = xml.replace(ring, "");
  return has ? without.replace(fixedFeatures, `${fixedFeatures}${ring}`) : without;
}

/** By libvirt's word of a machine that runs. */
export function hasDirtyRing(xml: string): boolean {
  return /<dirty-ring state='on'/.test(xml);
}

export function clock({ hyperv }: DomainExtras, accelerator: Accelerator): string[] {
  return [
    `  <clock offset='${hyperv ? "localtime" : "utc"}'>`,
    `    <timer name='rtc' tickpolicy='catchup'/>`,
    `    <timer name='pit' tickpolicy='delay'/>`,
    `    <timer name='hpet' present='no'/>`,
    ...(hyperv && accelerator === "kvm" ? [`    <timer name='hypervclock' present='yes'/>`] : []),
    `  </clock>`,
  ];
}

export function tpm({ tpm: state }: DomainExtras): string[] {
  if (state === null) return [];
  return [
    `    <tpm model='tpm-crb'>`,
    `      <backend type='emulator' version='2.0'><source type='dir' path='${attribute(state)}'/></backend>`,
    `    </tpm>`,
  ];
}

function isSecure(how: DomainBoot): boolean {
  return how.kind === "disk" && how.firmware === "uefi" && how.secureBoot;
}

function boot(how: DomainBoot): string[] {
  if (how.kind === "disk") return [...firmware(how), `    <boot dev='hd'/>`];
  return [
    `    <kernel>${text(how.kernel)}</kernel>`,
    ...(how.initrd === null ? [] : [`    <initrd>${text(how.initrd)}</initrd>`]),
    `    <cmdline>${text(how.cmdline)}</cmdline>`,
  ];
}

function firmware(how: Extract<DomainBoot, { kind: "disk" }>): string[] {
  if (how.firmware === "bios") return [];
  const { code, variables } = how.secureBoot ? ovmfFiles.secure : ovmfFiles.plain;
  const secure = how.secureBoot ? "yes" : "no";
  return [
    `    <loader readonly='yes' secure='${secure}' type='pflash' format='raw'>${code}</loader>`,
    `    <nvram template='${variables}' templateFormat='raw' format='raw'>${text(how.nvram)}</nvram>`,
  ];
}
