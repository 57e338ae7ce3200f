/**
 * The guest's machine as libvirt's domain XML: a pure function, so that what a guest gets can be read in a snapshot.
 * Each part of the machine has its file in domain-xml/, with the choices that are not obvious at its head.
 */
import type { Mark } from "../../core/ensure.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { fixedDevices, serial, type DomainConsole } from "./domain-xml/devices.ts";
import {
  dataDisk,
  dataDiskBridge,
  seedDisk,
  systemDisk,
  type DomainDataDisk,
  type DomainDisk,
} from "./domain-xml/disks.ts";
import { clock, osElement, platform, tpm, type DomainBoot, type DomainExtras } from "./domain-xml/firmware.ts";
import { capabilities, cpuElement, processors, type Accelerator, type DomainMachine } from "./domain-xml/machine.ts";
import { nic, type DomainNic } from "./domain-xml/nics.ts";
import { text } from "./domain-xml/xml.ts";
import { domainUuid, markElement, markPrefix, markUri } from "./mark.ts";

export interface DomainPlan {
  readonly id: InstanceId;
  readonly title: string;
  readonly mark: Mark;
  readonly accelerator: Accelerator;
  /** KVM alone has it. */
  readonly dirtyRing: boolean;
  readonly emulator: string;
  readonly vcpus: number;
  readonly machine: DomainMachine;
  readonly boot: DomainBoot;
  readonly extras: DomainExtras;
  readonly systemDisk: DomainDisk;
  readonly dataDisks: readonly DomainDataDisk[];
  readonly seedFile: string;
  readonly nics: readonly DomainNic[];
  readonly console: DomainConsole;
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
    ...processors(plan.vcpus, plan.machine),
    ...osElement(plan.boot),
    ...platform(plan.boot, plan.extras, plan),
    ...cpuElement(plan.accelerator, plan.machine),
    ...clock(plan.extras, plan.accelerator),
    `  <on_poweroff>destroy</on_poweroff>`,
    `  <on_reboot>restart</on_reboot>`,
    `  <on_crash>destroy</on_crash>`,
    `  <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>`,
    `  <devices>`,
    `    <emulator>${text(plan.emulator)}</emulator>`,
    ...systemDisk(plan.systemDisk, plan.machine.iothreads),
    ...seedDisk(plan.seedFile),
    ...dataDiskBridge,
    ...plan.dataDisks.flatMap((disk) => dataDisk(disk, plan.machine.iothreads)),
    ...plan.nics.flatMap((one, index) => nic(one, index, plan.machine.nicQueues)),
    ...serial(plan.console),
    ...tpm(plan.extras),
    ...fixedDevices,
    `  </devices>`,
    capabilities,
    `</domain>`,
    ``,
  ].join("\n");
}
