/** What this host makes of an instance's promise (core/machine.ts): its processors, its memory's pages, its nodes, as the definition says. */
import type { InstanceSpec } from "../../api/agent.ts";
import type { Allotment, HostPlaces } from "../../core/cpu-plan.ts";
import { Failure } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { DomainMachine } from "../vm/domain-xml/machine.ts";
import type { Affinity } from "./affinity.ts";
import type { Allotments } from "./allotments.ts";
import type { Processor } from "./baseline.ts";
import { cpuList } from "./places.ts";

export interface MachinesOptions {
  readonly allotments: Allotments;
  readonly affinity: Affinity;
  readonly processor: Processor;
  /** The machine has so many nodes: with one there is nothing to bind memory to. */
  readonly nodes: readonly number[];
}

export class Machines {
  readonly #options: MachinesOptions;

  constructor(options: MachinesOptions) {
    this.#options = options;
  }

  /** Gives the instance what it owns, durably, and says how its guest is to be defined. Failure `MachineUnavailable`. */
  async prepare(id: InstanceId, spec: InstanceSpec): Promise<DomainMachine> {
    const { allotments, affinity, nodes, processor } = this.#options;
    const { machine, vcpus, memoryMiB } = spec;
    const lacking = await processor.lacks(machine.baseline);
    if (lacking !== null) {
      const message = `this host cannot give the zone's processor to a guest: ${lacking}`;
      throw new Failure("no_capacity", "MachineUnavailable", message, { detail: { lacks: "processor" } });
    }
    const before = cpuList(this.pool);
    let allotment: Allotment | null = null;
    if (machine.cpu === "dedicated") {
      const { threadsPerCore, hugepages } = machine;
      allotment = await allotments.ensure(id, { vcpus, threadsPerCore, memoryMiB, hugepages });
    } else await allotments.drop(id);
    // Whoever runs there now makes way before the new guest starts.
    if (cpuList(this.pool) !== before) await affinity.sync();
    affinity.defined(id, this.pool);
    return domainMachine(spec, allotments.host, allotment, {
      pool: allotments.pool === null ? null : cpuList(allotments.pool),
      bindNodes: nodes.length > 1,
      without: processor.without,
    });
  }

  get processor(): Processor {
    return this.#options.processor;
  }

  /** Nothing of the instance is left here. */
  async release(id: InstanceId): Promise<void> {
    const { allotments, affinity } = this.#options;
    affinity.forget(id);
    if (allotments.forget(id)) await affinity.sync();
  }

  /** Brings guests that run off processors that are another's now. Never throws. */
  sync(): Promise<void> {
    return this.#options.affinity.sync();
  }

  /** Processors on which shared work runs now. */
  get pool(): number[] {
    const { allotments } = this.#options;
    return allotments.pool ?? allotments.host.places.map(({ cpu }) => cpu);
  }
}

/** Pure: the definition's part. */
export function domainMachine(
  spec: Pick<InstanceSpec, "vcpus" | "memoryMiB" | "machine">,
  host: HostPlaces,
  allotment: Allotment | null,
  { pool, bindNodes, without }: { pool: string | null; bindNodes: boolean; without: readonly string[] },
): DomainMachine {
  const { baseline, hugepages, iothreads, nicQueues } = spec.machine;
  const common = { baseline, without, hugepages, iothreads, pool, nicQueues: Math.min(nicQueues, spec.vcpus) };
  if (allotment === null) return { ...common, memoryMiB: spec.memoryMiB, vcpuCpus: null, topology: null, cells: [] };
  const { shares } = allotment;
  const cpus = new Map(host.places.map(({ place, cpu }) => [place, cpu]));
  let first = 0;
  const cells = shares.map(({ node, vcpus, memoryMiB }) => {
    const range = cpuList(vcpus.map((_, index) => first + index));
    first += vcpus.length;
    return { vcpus: range, memoryMiB, hostNode: bindNodes ? node : null };
  });
  return {
    ...common,
    // In whole pages, it may be a little more than was asked for.
    memoryMiB: cells.reduce((sum, cell) => sum + cell.memoryMiB, 0),
    vcpuCpus: shares.flatMap(({ vcpus }) => vcpus.map((place) => cpus.get(place) ?? 0)),
    topology: topologyOf(host, allotment),
    cells,
  };
}

/** Sockets as nodes, where all have the same. */
function topologyOf(host: HostPlaces, { shares }: Allotment): DomainMachine["topology"] {
  const cores = new Map(host.places.map(({ place, core }) => [place, core]));
  const all = shares.flatMap(({ vcpus }) => vcpus);
  const used = new Set(all.map((place) => cores.get(place)));
  const threads = all.length % used.size === 0 ? all.length / used.size : 1;
  const each = shares[0]?.vcpus.length ?? 0;
  const even = shares.every(({ vcpus }) => vcpus.length === each) && each % threads === 0;
  const sockets = even ? shares.length : 1;
  return { sockets, cores: all.length / threads / sockets, threads };
}
