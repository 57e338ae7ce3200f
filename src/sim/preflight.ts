/** What a simulated host says before a move: that all is well, unless it is told otherwise. Its guests write nothing, its link is fast. */
import type { LinkFacts, SourceCheck, TargetCheck } from "../api/agent-preflight.ts";
import type { InstanceSpec } from "../api/agent.ts";
import type { DirtySample } from "../core/migration/prediction.ts";
import type { DiskFacts, TargetFacts } from "../core/migration/preflight.ts";
import type { InstanceId } from "../lib/ids.ts";
import type { SimHost } from "./host.ts";

const mib = 2 ** 20;

export class SimPreflight {
  /** Said in place of what is true. */
  asSource: Partial<SourceCheck> = {};
  asTarget: Partial<TargetFacts> = {};
  /** Of the target. */
  untrusted: string | null = null;
  link: LinkFacts = { bytesPerSecond: 1024 * mib, roundTripMs: 0.1 };
  dirty: DirtySample[] = [{ ms: 1_000, bytes: 0 }];
  readonly #host: SimHost;

  constructor(host: SimHost) {
    this.#host = host;
  }

  source(id: InstanceId): SourceCheck {
    const spec = this.#host.specs.get(id);
    const memoryBytes = (spec?.memoryMiB ?? 0) * mib;
    const guest = this.#host.machines.get(id)?.runs === true ? "running" : "off";
    const disks = spec === undefined ? [] : disksOf(spec);
    const said = {
      ...common(),
      guest,
      busy: null,
      blocked: [],
      memoryBytes,
      residentBytes: memoryBytes,
    } as const;
    return { ...said, disks, ...this.asSource };
  }

  target(spec: InstanceSpec): TargetCheck {
    return { facts: this.#facts(spec), port: 1, ...(this.untrusted === null ? {} : { untrusted: this.untrusted }) };
  }

  #facts(spec: InstanceSpec): TargetFacts {
    const { memoryMiB } = this.#host.options.shape;
    const said = { ...common(), disks: disksOf(spec), local: null, freeBytes: memoryMiB * mib, hugepages: false };
    return { ...said, freePorts: 64, postcopy: false, imageHere: true, ...this.asTarget };
  }
}

function common() {
  return {
    cpuFeatures: [],
    machineType: "simulated",
    layout: 0,
    qemu: "0.0.0",
    sharedFolder: "simulated",
    nowMs: Date.now(),
  };
}

function disksOf({ systemDisk, dataDisks }: InstanceSpec): DiskFacts[] {
  const shared = [systemDisk, ...dataDisks].filter(({ driver }) => driver === "shared");
  return shared.map(({ id, sizeGiB }) => ({ id, bytes: sizeGiB * 2 ** 30 }));
}
