/**
 * The guest's machine as libvirt's domain XML: a pure function, so that what a guest gets can be read in a snapshot.
 *
 * Choices that are not obvious:
 * - The seed is a read-only virtio disk, not a CD: a guest needs one driver less, and q35's AHCI is not brought up for it.
 * - The backing chain is written out, so that libvirt does not open and probe images at each start.
 * - No option ROM on the NIC: nothing boots from the network, and SeaBIOS would load it.
 * - `error_policy='enospace'`: a full disk pauses the guest (Compute resumes it); any other error is the guest's to see.
 * - The serial log's name carries the incarnation: its existence is the evidence core/ensure.ts asks for.
 * - VNC listens on a socket in libvirt's folder of the domain: no port is open on any host.
 * - The serial console is a socket of QEMU's own and not one of libvirt's streams: whoever vanishes from a stream while the guest
 *   writes leaves libvirtd waiting for ever for a lock that it holds (docs/decisions/0007-consoles-beside-libvirt.md).
 * - `cpu-unavailable-features` is taken from libvirt's picture of QEMU: with it libvirt reads every property of the guest's CPU
 *   one by one, some 400 round trips at each start before the guest may run (measured: 600 ms against 170 ms to the end of
 *   the start); without it, two. What it would learn matters only to named CPU models that are checked; ours is `check='none'`.
 */
import type { Mark } from "../../core/ensure.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { domainUuid, markElement, markPrefix, markUri } from "./mark.ts";

export type Accelerator = "kvm" | "tcg";

export interface DomainDisk {
  readonly id: string;
  readonly file: string;
  readonly cache: "none" | "writeback";
  readonly backing: { readonly file: string; readonly format: "qcow2" | "raw" } | null;
}

export interface DomainNic {
  readonly mac: string;
  readonly bridge: string;
  readonly tap: string;
  readonly mtu: number;
}

export type DomainBoot =
  | { readonly kind: "direct"; readonly kernel: string; readonly initrd: string | null; readonly cmdline: string }
  | { readonly kind: "disk"; readonly firmware: "bios" | "uefi" };

export interface DomainPlan {
  readonly id: InstanceId;
  readonly title: string;
  readonly mark: Mark;
  readonly accelerator: Accelerator;
  readonly emulator: string;
  readonly vcpus: number;
  readonly memoryMiB: number;
  readonly boot: DomainBoot;
  readonly systemDisk: DomainDisk;
  readonly seedFile: string;
  readonly nics: readonly DomainNic[];
  readonly consoleLog: string;
  readonly consoleSocket: string;
}

/** The whole domain document. */
export function domainXml(plan: DomainPlan): string {
  return [
    `<domain type='${plan.accelerator === "kvm" ? "kvm" : "qemu"}' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>`,
    `  <name>${plan.id}</name>`,
    `  <uuid>${domainUuid(plan.id)}</uuid>`,
    // libvirt refuses a title with a line break.
    `  <title>${text(plan.title.replaceAll(/[\r\n]+/g, " "))}</title>`,
    `  <metadata>`,
    `    ${markElement(plan.mark).replace("<start ", `<${markPrefix}:start xmlns:${markPrefix}='${markUri}' `)}`,
    `  </metadata>`,
    `  <memory unit='MiB'>${plan.memoryMiB}</memory>`,
    `  <vcpu placement='static'>${plan.vcpus}</vcpu>`,
    plan.boot.kind === "disk" && plan.boot.firmware === "uefi" ? `  <os firmware='efi'>` : `  <os>`,
    `    <type arch='x86_64' machine='q35'>hvm</type>`,
    ...boot(plan.boot),
    `  </os>`,
    `  <features><acpi/><apic/><vmport state='off'/></features>`,
    `  ${cpu(plan.accelerator)}`,
    `  <clock offset='utc'>`,
    `    <timer name='rtc' tickpolicy='catchup'/>`,
    `    <timer name='pit' tickpolicy='delay'/>`,
    `    <timer name='hpet' present='no'/>`,
    `  </clock>`,
    `  <on_poweroff>destroy</on_poweroff>`,
    `  <on_reboot>restart</on_reboot>`,
    `  <on_crash>destroy</on_crash>`,
    `  <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>`,
    `  <devices>`,
    `    <emulator>${text(plan.emulator)}</emulator>`,
    ...systemDisk(plan.systemDisk),
    ...seedDisk(plan.seedFile),
    ...plan.nics.flatMap(nic),
    `    <serial type='unix'>`,
    `      <source mode='bind' path='${attribute(plan.consoleSocket)}'/>`,
    `      <log file='${attribute(plan.consoleLog)}' append='on'/>`,
    `      <target type='isa-serial' port='0'/>`,
    `    </serial>`,
    `    <channel type='unix'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>`,
    `    <graphics type='vnc'><listen type='socket'/></graphics>`,
    `    <video><model type='vga' vram='16384'/></video>`,
    `    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>`,
    `    <memballoon model='virtio' freePageReporting='on'/>`,
    `    <panic model='isa'/>`,
    `    <controller type='usb' model='none'/>`,
    `  </devices>`,
    `  <qemu:capabilities><qemu:del capability='cpu-unavailable-features'/></qemu:capabilities>`,
    `</domain>`,
    ``,
  ].join("\n");
}

function boot(how: DomainBoot): string[] {
  if (how.kind === "disk") return [`    <boot dev='hd'/>`];
  return [
    `    <kernel>${text(how.kernel)}</kernel>`,
    ...(how.initrd === null ? [] : [`    <initrd>${text(how.initrd)}</initrd>`]),
    `    <cmdline>${text(how.cmdline)}</cmdline>`,
  ];
}

function cpu(accelerator: Accelerator): string {
  return accelerator === "kvm"
    ? `<cpu mode='host-passthrough' check='none' migratable='on'/>`
    : `<cpu mode='maximum' check='none' migratable='on'/>`;
}

function systemDisk(disk: DomainDisk): string[] {
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

function seedDisk(file: string): string[] {
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

function nic(it: DomainNic): string[] {
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

/** Characters that XML 1.0 cannot carry at all are dropped; they can only come from a tenant's name. */
function text(value: string): string {
  const printable = Array.from(value.toWellFormed()).filter((c) => c >= " " || c === "\t" || c === "\n" || c === "\r");
  const kept = printable.filter((c) => c !== "\ufffe" && c !== "\uffff").join("");
  return kept.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

function attribute(value: string): string {
  return text(value).replaceAll("'", "&apos;").replaceAll('"', "&quot;");
}
