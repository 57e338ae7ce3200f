/**
 * The guest's processors and memory: which of the host's stand behind them, and what of that the guest is shown.
 *
 * - A dedicated vCPU runs on one processor and nothing else does. QEMU's other threads run in the pool, where they disturb nobody.
 * - Hugepages come from a memfd: no mount, no folder to clean up, and the kernel takes them back with the last descriptor. They are
 *   all touched before the guest runs, so that a host without enough refuses the start and never kills the guest later.
 * - Memory is bound to a node only where the host has several; a guest in one node is not shown any.
 * - `cpu-unavailable-features` is taken from libvirt's picture of QEMU: with it libvirt reads every property of the guest's CPU
 *   one by one, some 400 round trips at each start before the guest may run (measured: 600 ms against 170 ms to the end of
 *   the start); without it, two. What it would learn, whether the host can give a named model, Compute has found out before
 *   (compute/machine/baseline.ts); so `check='none'`.
 */
import type { CpuBaseline, PageSize } from "../../../core/machine.ts";

export type Accelerator = "kvm" | "tcg";

export interface DomainMachine {
  readonly baseline: CpuBaseline;
  /** Features that the host's own processor is declared not to have. */
  readonly without: readonly string[];
  readonly memoryMiB: number;
  readonly hugepages: PageSize | null;
  readonly iothreads: number;
  readonly nicQueues: number;
  /** Where QEMU's own threads run, and the vCPUs of a shared guest; null: anywhere. */
  readonly pool: string | null;
  /** The host's processor for each vCPU of a dedicated guest. */
  readonly vcpuCpus: readonly number[] | null;
  readonly topology: { readonly sockets: number; readonly cores: number; readonly threads: number } | null;
  /** The guest's NUMA nodes; shown when there are several. */
  readonly cells: readonly {
    readonly vcpus: string;
    readonly memoryMiB: number;
    readonly hostNode: number | null;
  }[];
}

const pageKiB: Readonly<Record<PageSize, number>> = { "2M": 2048, "1G": 1_048_576 };
/** Pages are cleared by so many threads at once. */
const mostFillers = 16;

export function processors(vcpus: number, machine: DomainMachine): string[] {
  const { vcpuCpus, pool, iothreads, hugepages, memoryMiB } = machine;
  const shared = vcpuCpus === null && pool !== null ? ` cpuset='${pool}'` : "";
  return [
    `  <memory unit='MiB'>${memoryMiB}</memory>`,
    ...(hugepages === null
      ? []
      : [
          `  <memoryBacking>`,
          `    <hugepages><page size='${pageKiB[hugepages]}' unit='KiB'/></hugepages>`,
          `    <source type='memfd'/>`,
          `    <allocation mode='immediate' threads='${Math.min(mostFillers, vcpus)}'/>`,
          `  </memoryBacking>`,
        ]),
    `  <vcpu placement='static'${shared}>${vcpus}</vcpu>`,
    ...(iothreads === 0 ? [] : [`  <iothreads>${iothreads}</iothreads>`]),
    ...cputune(machine),
    ...numatune(machine),
  ];
}

function cputune({ vcpuCpus, pool, iothreads }: DomainMachine): string[] {
  if (vcpuCpus === null) return [];
  const rest = pool === null ? [] : [`    <emulatorpin cpuset='${pool}'/>`];
  const threads = Array.from({ length: pool === null ? 0 : iothreads }, (_, index) => index + 1);
  return [
    `  <cputune>`,
    ...vcpuCpus.map((cpu, vcpu) => `    <vcpupin vcpu='${vcpu}' cpuset='${cpu}'/>`),
    ...rest,
    ...threads.map((thread) => `    <iothreadpin iothread='${thread}' cpuset='${pool}'/>`),
    `  </cputune>`,
  ];
}

function numatune({ cells }: DomainMachine): string[] {
  const nodes = cells.flatMap(({ hostNode }) => hostNode ?? []);
  if (nodes.length === 0) return [];
  return [
    `  <numatune>`,
    `    <memory mode='strict' nodeset='${nodes.join(",")}'/>`,
    ...(cells.length > 1
      ? cells.map(({ hostNode }, cell) => `    <memnode cellid='${cell}' mode='strict' nodeset='${hostNode}'/>`)
      : []),
    `  </numatune>`,
  ];
}

export function cpuElement(accelerator: Accelerator, machine: DomainMachine): string[] {
  const { baseline, without, topology, cells } = machine;
  const inside = [
    ...(baseline === "host" ? without.map((name) => `    <feature policy='disable' name='${name}'/>`) : []),
    ...(topology === null
      ? []
      : [`    <topology sockets='${topology.sockets}' cores='${topology.cores}' threads='${topology.threads}'/>`]),
    ...(cells.length < 2
      ? []
      : [
          `    <numa>`,
          ...cells.map(
            ({ vcpus, memoryMiB }, cell) =>
              `      <cell id='${cell}' cpus='${vcpus}' memory='${memoryMiB}' unit='MiB'/>`,
          ),
          `    </numa>`,
        ]),
  ];
  if (baseline !== "host") {
    return [`  <cpu mode='custom' match='exact' check='none'>`, ...cpuModel(baseline), ...inside, `  </cpu>`];
  }
  const mode = accelerator === "kvm" ? "host-passthrough" : "maximum";
  const open = `  <cpu mode='${mode}' check='none' migratable='on'`;
  return inside.length === 0 ? [`${open}/>`] : [`${open}>`, ...inside, `  </cpu>`];
}

/** A named processor, as libvirt wants it told. */
export function cpuModel({ model, features }: Exclude<CpuBaseline, "host">): string[] {
  return [
    `    <model fallback='forbid'>${model}</model>`,
    ...features.map(({ name, policy }) => `    <feature policy='${policy}' name='${name}'/>`),
  ];
}

export const capabilities = `  <qemu:capabilities><qemu:del capability='cpu-unavailable-features'/></qemu:capabilities>`;
