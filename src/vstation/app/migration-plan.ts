/**
 * What a move would come to, and every reason against it: a dry run. Nothing is changed: VStation looks at what it knows, then asks the
 * two hosts (src/api/agent-preflight.ts), and has the guest's writes and the link measured, which takes some seconds.
 *
 * It promises nothing: room is not taken, and a host may say something else a moment later. A move looks at all of this anew.
 */
import {
  dirtySamplesSchema,
  linkFactsSchema,
  sourceCheckSchema,
  targetCheckSchema,
  type LinkFacts,
  type SourceCheck,
} from "../../api/agent-preflight.ts";
import type { Ask, InstanceSpec } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { operationCodeOf } from "../../core/migration/migration.ts";
import { forecast } from "../../core/migration/forecast.ts";
import { mayFetch, type MigrationPolicy } from "../../core/migration/policy.ts";
import { fitCurve, switchover, type DirtySample } from "../../core/migration/prediction.ts";
import { refusalsOf, type TargetFacts } from "../../core/migration/preflight.ts";
import { isFailure, type Failure } from "../../lib/errors.ts";
import { newId, type HostId, type InstanceId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { Migrations, PlanRefusal } from "../cloud/migrations.ts";
import { noRoomToMove } from "../placement/refusals.ts";
import { hostRead } from "../store/hosts.ts";
import type { LockedInstance } from "../store/instances.ts";
import { requestOpen } from "../store/migration-queue.ts";
import { specRead } from "../store/wanted-spec.ts";
import type { AppContext } from "./context.ts";
import { otherWish, planOf } from "./instance-migrate.ts";
import { localDataGiB, lockOne, objections, policyObjections, targetObjections } from "./migration-begin.ts";

const checkMs = 10_000;
const probeMs = 15_000;
const measureMs = 40_000;

/** What a host said, and how far its clock is before ours. */
interface Told<T> {
  readonly facts: T;
  readonly aheadMs: number;
}

export function migrationPlan(context: AppContext): Migrations["plan"] {
  const { placer } = context;
  return async (caller, instanceId, { to, policy, ceilingMs }) => {
    // Throws where the order would.
    const how = { policy, ceilingMs: planOf(policy, ceilingMs).ceiling_ms };
    const { one, found, spec, dataDiskGiB } = await look(context, caller, instanceId, { to, policy });
    const refusals: PlanRefusal[] = found.map((each) => refusalOf(each, "vstation"));
    const sourceHostId = one.row.host_id;
    const move = { id: newId("migration"), instanceId, groupId: one.row.group_id, to, dataDiskGiB };
    const choice = await placer.wouldMove(move);
    const targetHostId = "host" in choice ? choice.host : to === sourceHostId ? null : to;
    const knows = (code: string): boolean => refusals.some((each) => each.code === code);
    // Whoever is not to be had has no room either.
    if ("refused" in choice && !["HostNotFound", "HostCordoned", "HostUnreachable", "MigrationSameHost"].some(knows)) {
      refusals.push(refusalOf(noRoomToMove(choice.refused, to), "vstation"));
    }
    const host = new Questions(context, refusals);
    const source = sourceHostId === null ? null : await host.source(sourceHostId, instanceId);
    const target =
      sourceHostId === null || targetHostId === null || knows("HostNotFound")
        ? null
        : await host.target(targetHostId, { instanceId, sourceHostId, spec });
    if (source !== null && target !== null) {
      // What is said of its disks VStation has said.
      const manner = { postcopy: mayFetch(policy), localDisks: false };
      const skewMs = target.aheadMs - source.aheadMs;
      for (const { reason, message } of refusalsOf(source.facts, target.facts, skewMs, manner)) {
        refusals.push({ code: operationCodeOf[reason], message, by: "hosts" });
      }
    }
    const link =
      sourceHostId !== null && target !== null && source !== null ? await host.link(sourceHostId, target.peer) : null;
    const samples =
      sourceHostId !== null && source?.facts.guest === "running" ? await host.samples(sourceHostId, instanceId) : null;
    const usual = source?.facts.switchover ?? switchover;
    const curve = samples === null || source === null ? null : fitCurve(samples, source.facts.memoryBytes);
    return {
      instanceId,
      sourceHostId,
      targetHostId,
      chosen: to === null ? "best_fit" : "asked",
      refusals,
      memoryBytes: source?.facts.residentBytes ?? null,
      imageHere: target?.facts.imageHere ?? null,
      postcopy: target?.facts.postcopy ?? null,
      link,
      samples,
      prediction:
        curve === null || link === null || source === null
          ? null
          : forecast(
              {
                memoryBytes: source.facts.residentBytes,
                curve,
                linkBytesPerSecond: link.bytesPerSecond,
                limitMs: Math.min(usual.limitMs, how.ceilingMs),
                fixedMs: usual.fixedMs,
              },
              how,
            ),
    };
  };
}

interface Look {
  readonly one: LockedInstance;
  readonly found: readonly Failure[];
  readonly spec: InstanceSpec;
  readonly dataDiskGiB: number;
}

function look(
  { store, config }: AppContext,
  caller: AnyCaller,
  id: InstanceId,
  { to, policy }: { to: HostId | null; policy: MigrationPolicy },
): Promise<Look> {
  return store.transaction(async (tx) => {
    const one = await lockOne(tx, caller, id);
    const found: Failure[] = [];
    for (const check of objections) found.push(...(await check(tx, one)));
    found.push(...(await policyObjections(tx.db, id, policy)));
    const other = otherWish(await requestOpen(tx.db, id), to);
    if (other !== null) found.push(other);
    if (to !== null) found.push(...(await targetObjections(tx.db, config.zone, one, to)));
    const spec = await specRead(tx.db, id, config.cpuBaseline);
    return { one, found, spec, dataDiskGiB: await localDataGiB(tx.db, id) };
  });
}

/** The questions to the two hosts. One that is not answered is a refusal, and the others are asked all the same. */
class Questions {
  readonly #context: AppContext;
  readonly #refusals: PlanRefusal[];

  constructor(context: AppContext, refusals: PlanRefusal[]) {
    this.#context = context;
    this.#refusals = refusals;
  }

  source(hostId: HostId, instanceId: InstanceId): Promise<Told<SourceCheck> | null> {
    return this.#answered("source", async () => {
      const { answer, atMs } = await this.#ask(hostId, { kind: "migration.source-check", instanceId }, checkMs);
      const facts = sourceCheckSchema.parse(answer);
      this.#distrust("source", facts.untrusted);
      return { facts, aheadMs: facts.nowMs - atMs };
    });
  }

  target(
    hostId: HostId,
    about: { instanceId: InstanceId; sourceHostId: HostId; spec: InstanceSpec },
  ): Promise<(Told<TargetFacts> & { peer: { targetHostId: HostId; address: string; port: number } }) | null> {
    const { store, config } = this.#context;
    return this.#answered("target", async () => {
      const { answer, atMs } = await this.#ask(hostId, { kind: "migration.target-check", ...about }, checkMs);
      const { facts, port, untrusted } = targetCheckSchema.parse(answer);
      this.#distrust("target", untrusted);
      const [host] = await store.read((db) => hostRead(db, { id: hostId, zone: config.zone }));
      const address = host?.row.underlay_address;
      if (address === null || address === undefined) throw failure("HostUnreachable", `host ${hostId} has no address`);
      return { facts, aheadMs: facts.nowMs - atMs, peer: { targetHostId: hostId, address, port } };
    });
  }

  link(hostId: HostId, peer: { targetHostId: HostId; address: string; port: number }): Promise<LinkFacts | null> {
    return this.#answered("link", async () => {
      const { answer } = await this.#ask(hostId, { kind: "migration.link-probe", ...peer }, probeMs);
      return linkFactsSchema.parse(answer);
    });
  }

  samples(hostId: HostId, instanceId: InstanceId): Promise<DirtySample[] | null> {
    return this.#answered("source", async () => {
      const { answer } = await this.#ask(hostId, { kind: "migration.dirty-samples", instanceId }, measureMs);
      return dirtySamplesSchema.parse(answer);
    });
  }

  #distrust(by: "source" | "target", why: string | undefined): void {
    if (why !== undefined)
      this.#refusals.push({ code: operationCodeOf.not_trusted, message: `${why} (at the ${by})`, by });
  }

  /** With the moment, by our clock, at which the host will have answered. */
  async #ask(hostId: HostId, ask: Ask, ms: number): Promise<{ answer: unknown; atMs: number }> {
    const askedAt = Date.now();
    const answer = await this.#context.agents.session(hostId).asks.ask(ask, ms);
    return { answer, atMs: (askedAt + Date.now()) / 2 };
  }

  async #answered<T>(by: PlanRefusal["by"], question: () => Promise<T>): Promise<T | null> {
    try {
      return await question();
    } catch (error) {
      if (!isFailure(error)) throw error;
      const refusal = refusalOf(error, by);
      // That a host is out of reach was seen before it was asked.
      if (!this.#refusals.some(({ code }) => code === refusal.code && code === "HostUnreachable")) {
        this.#refusals.push(refusal);
      }
      return null;
    }
  }
}

function refusalOf({ code, message, detail }: Failure, by: PlanRefusal["by"]): PlanRefusal {
  const own = detail["refusal"];
  return { code: typeof own === "string" ? own : code, message, by };
}
