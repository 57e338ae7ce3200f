/**
 * The target's half of a migration: the loop around core/migration/target.ts. It alone writes the half's record; the machine that waits
 * for the guest is in target-attempt.ts.
 *
 * The word that the source asks for is the record's: durable before it is said. What can race: the attempt changes while libvirt is asked
 * for the guest, and then what was seen counts for nothing.
 */
import { performance } from "node:perf_hooks";
import type { WantedMigration } from "../../api/agent.ts";
import type { Fate, MigrationReason } from "../../core/migration/halves.ts";
import { decideTarget, type TargetRecord, type TargetSituation, type TargetStep } from "../../core/migration/target.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { unreachable } from "../../lib/errors.ts";
import { migrationFile } from "../paths.ts";
import { domainUuid } from "../vm/mark.ts";
import type { Worker } from "../vm/worker.ts";
import { correctClock } from "./clock.ts";
import { letGo, lookEveryMs, Turns, type Half, type MigrationContext, type Rest } from "./half.ts";
import { isArriving, keepArriving, removeArriving } from "./local-disks.ts";
import { lookAt, unseen, type Looked } from "./look.ts";
import { memoryOf } from "./memory.ts";
import { Monitor } from "./monitor.ts";
import { keep } from "./records.ts";
import { TargetAttempt } from "./target-attempt.ts";

const running: Looked = { guest: "running", neverRan: false, domain: null };

/** So long the source's last words are waited for, and so often it is looked whether they are over. */
const toldMs = 6_000;
const tellMs = 200;
/** Longer than libvirt takes to notice that all is here. */
const missedMs = 30_000;
/** Longer than libvirt takes to let a guest run whose memory is all here. */
const settledMs = 10_000;

type Wanted = WantedMigration & { half: { is: "target" } };

export class TargetHalf implements Half {
  readonly #m: MigrationContext;
  readonly #worker: Worker;
  readonly #turns: Turns;
  /** Of a guest that comes by post-copy. */
  readonly #monitor: Monitor;
  #wanted: Wanted;
  #named: boolean;
  #record: TargetRecord | null;
  #ours = false;
  #attempt: TargetAttempt | null = null;
  #asked = false;
  #released = false;
  #missedSince: number | null = null;
  #listenAt = 0;
  readonly #begunAt = performance.now();
  #arrivedAt: number | null = null;
  /** Sources that wait for the word. */
  #waiting: ((fate: Fate) => void)[] = [];

  constructor(m: MigrationContext, wanted: Wanted, record: TargetRecord | null, named: boolean) {
    this.#m = m;
    this.#wanted = wanted;
    this.#record = record;
    this.#named = named;
    this.#worker = m.fleet.migrating(wanted.instanceId, "target");
    m.context.network.place(wanted.instanceId, {
      is: record?.stage === "arrived" || record?.stage === "fetching" ? "arrived" : "coming",
    });
    this.#monitor = new Monitor(wanted.instanceId, () => this.wake());
    // Compute may have died before it was right.
    if (record?.stage === "arrived") this.#correctClock();
    this.#turns = new Turns(
      () => this.#turn(),
      (error) => m.context.log.warn({ err: error, migration: wanted.id }, "a step of a migration failed at its target"),
    );
  }

  get wanted(): Wanted {
    return this.#wanted;
  }

  tell(wanted: WantedMigration | null): void {
    this.#named = wanted !== null;
    if (wanted?.half.is === "target") {
      // What was made here is what is removed, should it not come.
      const spec = this.#record === null ? wanted.half.spec : this.#wanted.half.spec;
      this.#wanted = { ...wanted, half: { ...wanted.half, spec } };
    }
    this.wake();
  }

  wake(): void {
    this.#turns.wake();
  }

  async stop(): Promise<void> {
    this.#attempt?.abandon();
    this.#monitor.close();
    await this.#turns.stop();
  }

  async #turn(): Promise<Rest> {
    const attempt = this.#attempt?.state ?? null;
    const settled = performance.now() - this.#begunAt >= settledMs;
    const seen = await this.#look();
    // Anew, and not from before the look: a finish that began meanwhile forbids everything.
    const now = this.#attempt?.state ?? null;
    const looked = this.#attempt?.ran && !this.#isFetching ? running : now === attempt ? seen : unseen;
    const memory = this.#isFetching ? await memoryOf(this.#monitor, looked) : "unknown";
    const { step, say } = decideTarget({
      wish: this.#named ? this.#wanted.wish : "over",
      record: this.#record,
      attempt: now,
      ours: this.#ours,
      asked: this.#asked,
      released: this.#released && (this.#isMissedForLong(memory) || memory !== "missing"),
      guest: looked.guest,
      neverRan: looked.neverRan,
      ran: this.#attempt?.ran ?? false,
      settled,
      memory,
      port: this.#attempt?.port ?? null,
    });
    this.#m.publish(this.#wanted.id, { id: this.#wanted.id, half: { is: "target", state: say } });
    this.#answer();
    return await this.#do(step, looked, now === attempt);
  }

  /** It runs, or may, by libvirt's hand and not by an answer that is waited for. */
  get #isFetching(): boolean {
    return this.#record?.stage === "committed" || this.#record?.stage === "fetching";
  }

  /** The last of it may have come a moment before libvirt says so. */
  #isMissedForLong(memory: TargetSituation["memory"]): boolean {
    if (memory !== "missing") this.#missedSince = null;
    else this.#missedSince ??= performance.now();
    return this.#missedSince !== null && performance.now() - this.#missedSince >= missedMs;
  }

  async #look(): Promise<Looked> {
    const { libvirt, log } = this.#m.context;
    const attempt = this.#attempt?.state.is;
    // Nothing is to be seen before the record, and nothing counts while the guest is being let run, or waits for that to be written down.
    if (this.#record === null || attempt === "promising" || (attempt === "finishing" && !this.#isFetching))
      return unseen;
    try {
      return await lookAt(libvirt, this.#wanted.instanceId);
    } catch (error) {
      log.warn({ err: error, migration: this.#wanted.id }, "libvirt did not say how a guest that comes is");
      return unseen;
    }
  }

  async #do(step: TargetStep, { domain }: Looked, steady: boolean): Promise<Rest> {
    const { context } = this.#m;
    const { instanceId } = this.#wanted;
    switch (step.do) {
      case "wait":
        return steady ? { ms: lookEveryMs } : "now";
      case "record":
        await this.#write(step.record);
        return "now";
      case "attempt":
        await this.#worker.atRest();
        this.#begin(false);
        return "now";
      case "listen":
        if (this.#attempt !== null && this.#attempt.state.is !== "failed") return { ms: lookEveryMs };
        // What keeps this host from listening does not end at once.
        if (performance.now() < this.#listenAt) return { ms: lookEveryMs };
        this.#listenAt = performance.now() + lookEveryMs;
        this.#begin(true);
        return "now";
      case "resume":
        if (domain !== null) await context.libvirt.domainResume(domain);
        return "now";
      case "end":
        await this.#attempt?.end(this.#whyEnded());
        return "now";
      case "destroy":
        if (this.#record?.stage === "fetching") {
          const about = { migration: this.#wanted.id, instance: instanceId };
          context.log.error(about, "what a guest lacks of its memory is lost with its former host: it is ended here");
        }
        if (domain !== null) await context.libvirt.domainDestroy(domain, { graceful: false });
        return "now";
      case "clean":
        if (await isArriving(context, instanceId)) {
          await removeArriving(context, instanceId);
          crashPoint("migration.disks.arriving-removed");
          await this.#worker.vanish();
        }
        crashPoint("migration.target.cleaned");
        context.network.place(instanceId, { is: "here" });
        break;
      case "forget":
        // The source tells of the guest's newest connections, and that by the connection that would end here.
        if (this.#attempt?.isTold && performance.now() - (this.#arrivedAt ?? 0) < toldMs) return { ms: tellMs };
        if (this.#record?.stage === "arrived") await keepArriving(context, instanceId);
        break;
      default:
        return unreachable(step);
    }
    this.#attempt?.abandon();
    this.#monitor.close();
    await letGo(this.#m, this.#wanted, { worker: this.#worker, turns: this.#turns });
    return "wait";
  }

  async #write(record: TargetRecord): Promise<void> {
    const { context } = this.#m;
    const { id, instanceId } = this.#wanted;
    await keep(context.write, migrationFile(context.paths, id), { wanted: this.#wanted, record });
    if (record.stage === "open") this.#ours = true;
    this.#record = record;
    switch (record.stage) {
      case "open":
        crashPoint("migration.target.open-written");
        return;
      case "finishing":
        crashPoint("migration.target.finishing-written");
        return this.#attempt?.promised();
      case "committed":
        crashPoint("migration.postcopy.committed-written");
        await this.#openMonitor();
        return this.#attempt?.promised();
      case "fetching":
        crashPoint("migration.postcopy.fetching-written");
        context.log.info(
          { migration: id, instance: instanceId },
          "a guest runs here and fetches the rest of its memory",
        );
        return context.network.settle(instanceId, { is: "arrived" });
      case "arrived":
        crashPoint("migration.target.arrived-written");
        this.#arrivedAt = performance.now();
        context.log.info({ migration: id, instance: instanceId }, "a guest has arrived");
        context.network.settle(instanceId, { is: "arrived" });
        return this.#correctClock();
      case "dropped":
        crashPoint("migration.target.dropped-written");
        return;
      default:
        return unreachable(record);
    }
  }

  /** While QEMU is certain to answer; a guest whose memory comes without a break does without it. */
  async #openMonitor(): Promise<void> {
    try {
      await this.#monitor.open();
    } catch (error) {
      this.#m.context.log.warn(
        { err: error, migration: this.#wanted.id },
        "the QEMU of a guest that comes is not reached",
      );
    }
  }

  /** In the background: the guest's agent may take its time, or not be there. */
  #correctClock(): void {
    const { libvirt, nowMs, log } = this.#m.context;
    const { instanceId } = this.#wanted;
    const domain = { name: instanceId, uuid: domainUuid(instanceId), id: -1 };
    void correctClock({ libvirt, domain, nowMs, log });
  }

  #begin(resumed: boolean): void {
    const { context, identity, transport, underlayAddress, silenceMs } = this.#m;
    this.#attempt = new TargetAttempt({
      context,
      identity,
      transport,
      underlayAddress,
      silenceMs,
      monitor: this.#monitor,
      wanted: this.#wanted,
      worker: this.#worker,
      word: (released) => this.#word(released),
      resumed,
      /** Whoever had it prepared is gone, and nobody else can finish it. */
      lost: () => {
        this.#asked = true;
        this.wake();
      },
      changed: () => this.wake(),
    });
  }

  #whyEnded(): { reason: MigrationReason; message: string } {
    return this.#named && this.#wanted.wish === "go"
      ? { reason: "link_lost", message: "the source gave up, or was lost" }
      : { reason: "cancelled", message: "it was cancelled" };
  }

  #word(released: boolean): Promise<Fate> {
    this.#asked = true;
    this.#released ||= released;
    const { promise, resolve } = Promise.withResolvers<Fate>();
    this.#waiting.push(resolve);
    this.wake();
    return promise;
  }

  #answer(): void {
    const stage = this.#record?.stage;
    if (stage !== "arrived" && stage !== "dropped" && stage !== "fetching") return;
    for (const tell of this.#waiting) tell(stage);
    this.#waiting = [];
  }
}
