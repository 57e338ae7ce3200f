/** This host's answers to the questions that come before a move; src/api/agent-preflight.ts has them. Nothing is changed by any. */
import type { LinkFacts, SourceCheck, TargetCheck } from "../../api/agent-preflight.ts";
import type { InstanceSpec } from "../../api/agent.ts";
import type { DirtySample } from "../../core/migration/prediction.ts";
import { Failure } from "../../lib/errors.ts";
import type { HostId, InstanceId } from "../../lib/ids.ts";
import type { Identity } from "../link/identity.ts";
import type { Context } from "../vm/context.ts";
import type { Peer } from "./dial.ts";
import { dirtySamples, dirtyTimes } from "./dirty.ts";
import { sourceFacts, targetFacts } from "./facts.ts";
import { lookAt } from "./look.ts";
import { classOfGuest, type Pauses } from "./pauses.ts";
import { listenForProbe, probeLink } from "./probe.ts";

const probeMs = 1_000;

export interface PreflightOptions {
  readonly context: Context;
  readonly identity: () => Identity | undefined;
  readonly underlayAddress: string;
  /** Why this host's QEMU could not show another one who it is; null: it could, or need not. */
  readonly untrusted: () => Promise<string | null>;
  readonly pauses: Pauses;
}

export class Preflight {
  readonly #options: PreflightOptions;

  constructor(options: PreflightOptions) {
    this.#options = options;
  }

  async source(id: InstanceId): Promise<SourceCheck> {
    const { context, pauses } = this.#options;
    const spec = context.wanted(id)?.doc.spec;
    const facts = await sourceFacts(context, id);
    return {
      ...facts,
      ...(await this.#trust()),
      switchover: pauses.switchover(spec === undefined ? null : classOfGuest(spec)),
    };
  }

  async target(id: InstanceId, source: HostId, spec: InstanceSpec): Promise<TargetCheck> {
    const { context, identity, underlayAddress: address } = this.#options;
    const facts = await targetFacts(context, id, spec);
    const trust = await this.#trust();
    return { facts, ...trust, port: await listenForProbe({ address, source, identity, log: context.log }) };
  }

  async #trust(): Promise<Pick<TargetCheck, "untrusted">> {
    const why = await this.#options.untrusted();
    return why === null ? {} : { untrusted: why.slice(0, 1024) };
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
