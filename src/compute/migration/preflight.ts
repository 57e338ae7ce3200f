/** This host's answers to the questions that come before a move; src/api/agent-preflight.ts has them. Nothing is changed by any. */
import type { LinkFacts } from "../../api/agent-preflight.ts";
import type { InstanceSpec } from "../../api/agent.ts";
import type { DirtySample } from "../../core/migration/prediction.ts";
import type { SourceFacts, TargetFacts } from "../../core/migration/preflight.ts";
import { Failure } from "../../lib/errors.ts";
import type { HostId, InstanceId } from "../../lib/ids.ts";
import type { Identity } from "../link/identity.ts";
import type { Context } from "../vm/context.ts";
import type { Peer } from "./dial.ts";
import { dirtySamples, dirtyTimes } from "./dirty.ts";
import { sourceFacts, targetFacts } from "./facts.ts";
import { lookAt } from "./look.ts";
import { listenForProbe, probeLink } from "./probe.ts";

const probeMs = 1_000;

export interface PreflightOptions {
  readonly context: Context;
  readonly identity: () => Identity | undefined;
  readonly underlayAddress: string;
}

export class Preflight {
  readonly #options: PreflightOptions;

  constructor(options: PreflightOptions) {
    this.#options = options;
  }

  source(id: InstanceId): Promise<SourceFacts> {
    return sourceFacts(this.#options.context, id);
  }

  async target(id: InstanceId, source: HostId, spec: InstanceSpec): Promise<{ facts: TargetFacts; port: number }> {
    const { context, identity, underlayAddress: address } = this.#options;
    const facts = await targetFacts(context, id, spec);
    return { facts, port: await listenForProbe({ address, source, identity, log: context.log }) };
  }

  async link(peer: Peer): Promise<LinkFacts> {
    const own = this.#options.identity();
    if (own === undefined) throw new Failure("unavailable", "NotJoined", "this host has no certificate yet");
    return await probeLink(peer, own, probeMs);
  }

  async dirty(id: InstanceId): Promise<DirtySample[]> {
    const { libvirt, wanted } = this.#options.context;
    const { guest, domain } = await lookAt(libvirt, id);
    const spec = wanted(id)?.doc.spec;
    if (guest !== "running" || domain === null || spec === undefined) {
      throw new Failure("conflict", "InstanceNotRunning", `${id} does not run on this host`);
    }
    return await dirtySamples(libvirt, domain, spec.memoryMiB, dirtyTimes);
  }
}
