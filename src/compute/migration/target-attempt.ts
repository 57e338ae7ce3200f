/**
 * The one attempt of a target to take a guest in: what it needs is made ready, the source is listened for, and a QEMU waits for its memory
 * until the source says `finish`; libvirt's phases on a connection of their own, so that what is unfinished of them ends with this
 * process.
 *
 * `state` is replaced with each change, so who compares it knows whether anything happened. Once `end` has begun no finish is taken, and
 * once a finish was taken no `end` is: both look at the state in the turn in which they change it.
 */
import { performance } from "node:perf_hooks";
import { localDisksOf } from "../../api/agent-migration.ts";
import type { WantedMigration } from "../../api/agent.ts";
import type { RunRecord } from "../../core/ensure.ts";
import type { Fate, MigrationReason, MigrationTransport } from "../../core/migration/halves.ts";
import type { TargetAttempt as State } from "../../core/migration/target.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { formatError, isFailure, unreachable } from "../../lib/errors.ts";
import { sleep } from "../../lib/retry.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { Begun, Finished, MigrationHalf, MigrationOptions, Prepared } from "../../libvirt/migration-contract.ts";
import type { Identity } from "../link/identity.ts";
import type { ReadySwitch } from "../network/switch.ts";
import { prepareArrival } from "../vm/arrival.ts";
import type { Context } from "../vm/context.ts";
import { isOutcomeUnknown, messageOf } from "../vm/failures.ts";
import { withDirtyRing } from "../vm/domain-xml/firmware.ts";
import { domainUuid } from "../vm/mark.ts";
import type { Worker } from "../vm/worker.ts";
import { checkArrival } from "./check.ts";
import { TrackedConnections } from "./connections.ts";
import { decoded, encoded } from "./cookie.ts";
import { PeerListener } from "./listen.ts";
import { beginArriving, targetsOf } from "./local-disks.ts";
import { isNotTrusted } from "./qemu-certificate.ts";
import { Fetch } from "./fetch.ts";
import { listenAnew } from "./memory.ts";
import { withMonitor, type Monitor } from "./monitor.ts";
import { hushMs, phases } from "./source-attempt.ts";
import { refused, type PeerAnswer, type PeerAsk } from "./wire.ts";

export interface TargetAttemptOptions {
  readonly context: Context;
  readonly identity: () => Identity | undefined;
  readonly transport: () => Promise<MigrationTransport>;
  readonly underlayAddress: string;
  readonly silenceMs: number;
  readonly monitor: Monitor;
  readonly wanted: WantedMigration & { half: { is: "target" } };
  readonly worker: Worker;
  /** Resolves once it is decided. */
  readonly word: (released: boolean) => Promise<Fate>;
  readonly lost: () => void;
  readonly changed: () => void;
  /** A guest that runs here already, or may: nothing is made ready, and the source is listened for alone. */
  readonly resumed: boolean;
}

type Listening = Extract<State, { is: "listening" }>;
type Why = { readonly reason: MigrationReason; readonly message: string };

function failed(why: Why, inDoubt = false): State {
  return { is: "failed", ...why, inDoubt };
}

const finishMs = 30_000;
const settleMs = 150;
const cancelMs = 15_000;
/** How long an unanswered finish may still take effect: with libvirt there, and with one that is gone or hangs. */
const doubtMs = 30_000;
const lostDoubtMs = 5_000;
/** libvirt takes a port that is free when it looks; another program may be quicker. */
const prepareTries = 3;

export class TargetAttempt {
  readonly #options: TargetAttemptOptions;
  readonly #ended = Promise.withResolvers<void>();
  readonly #work: Promise<void>;
  #state: State = { is: "preparing", step: "image" };
  #xml = "";
  #transport: MigrationTransport = "tls";
  #connections = 1;
  readonly #disks: readonly string[];
  #listener: PeerListener | null = null;
  #half: MigrationHalf | null = null;
  #arriving: ReadySwitch | null = null;
  #ran = false;
  /** Never rejects. */
  #preparing: Promise<void> = Promise.resolve();
  /** Who had it prepared. */
  #caller: symbol | null = null;
  #callerLeft = false;
  #postcopy = false;
  /** By post-copy: libvirt's finish, which was begun before the source switched. */
  #fetch: Fetch | null = null;
  readonly #promised = Promise.withResolvers<void>();
  readonly #tracked: TrackedConnections;

  constructor(options: TargetAttemptOptions) {
    this.#options = options;
    const { wanted, context } = options;
    this.#disks = targetsOf(localDisksOf(wanted.half.spec));
    this.#tracked = new TrackedConnections(() => context.network.tracked(wanted.instanceId));
    this.#work = this.#makeReady();
  }

  get state(): State {
    return this.#state;
  }

  /** libvirt has said that the guest runs here; should it have ended since, it has arrived all the same. */
  get ran(): boolean {
    return this.#ran;
  }

  /** Whoever had it prepared has not hung up. */
  get isTold(): boolean {
    return this.#caller !== null && !this.#callerLeft;
  }

  get port(): number | null {
    return this.#listener?.port ?? null;
  }

  /** What was promised is written down: the guest may run here from now on. */
  promised(): void {
    const { state } = this;
    if (state.is !== "promising") return;
    this.#change({ is: "finishing" });
    this.#promised.resolve();
  }

  /** Ends it, unless a finish is under way. Nothing of it is at work when this resolves. */
  async end(why: Why): Promise<void> {
    if (this.#state.is === "finishing" || this.#state.is === "failed") return;
    this.#change(failed(why));
    this.#ended.resolve();
    await Promise.all([this.#work, this.#preparing]);
    await this.#discard();
  }

  /** Lets go of everything, as this process's death would. */
  abandon(): void {
    this.#ended.resolve();
    this.#listener?.close();
    this.#half?.close();
    this.#arriving?.drop();
  }

  get #isOver(): boolean {
    return this.#state.is === "failed";
  }

  #change(state: State): void {
    // What has failed stays so: the first reason is the true one.
    if (this.#state.is === "failed") return;
    this.#state = state;
    this.#options.changed();
  }

  /** Never rejects. */
  async #makeReady(): Promise<void> {
    const { context, wanted, worker, transport } = this.#options;
    const { instanceId: id, half } = wanted;
    const { spec, epoch, incarnation, resets } = half;
    try {
      if (this.#options.resumed) return await this.#listen();
      this.#transport = await transport();
      const here = context.images.ensure(spec.imageId, (percent) => {
        if (this.#state.is === "preparing") this.#change({ is: "preparing", step: `image ${percent} %` });
      });
      here.catch(() => undefined);
      await Promise.race([here, this.#ended.promise]);
      if (this.#isOver) return;
      this.#change({ is: "preparing", step: "seed, network, definition" });
      const run: RunRecord = {
        epoch,
        incarnation,
        resets,
        stage: "started",
        diskMade: true,
        startedAt: new Date(context.nowMs()).toISOString(),
        bootId: context.bootId,
        end: null,
        stop: null,
      };
      await beginArriving(context, id);
      await worker.adopt({ spec, systemDisk: spec.systemDisk.id, run });
      crashPoint("migration.target.adopted");
      this.#xml = await prepareArrival(context, { id, spec, mark: { epoch, incarnation, resets } });
      await this.#listen();
    } catch (error) {
      context.log.warn({ chain: formatError(error), migration: wanted.id }, "a target could not make itself ready");
      this.#change(failed({ reason: reasonOf(error), message: messageOf(error) }));
    }
  }

  async #listen(): Promise<void> {
    const { context, wanted, underlayAddress, silenceMs, identity, word } = this.#options;
    const listener = await PeerListener.begin({
      address: underlayAddress,
      silenceMs,
      migration: wanted.id,
      source: wanted.half.sourceHostId,
      identity,
      serve: (ask, caller) =>
        ask.is === "word" ? word(ask.released).then((fate) => ({ fate })) : this.#serve(ask, caller),
      left: (caller) => {
        if (caller !== this.#caller) return;
        this.#callerLeft = true;
        if (this.#state.is === "listening" || this.#state.is === "promising") this.#options.lost();
      },
      log: context.log,
    });
    this.#listener = listener;
    crashPoint("migration.target.listening");
    this.#change({ is: "listening", port: listener.port });
  }

  async #serve(ask: Exclude<PeerAsk, { is: "word" }>, caller: symbol): Promise<PeerAnswer<PeerAsk["is"]>> {
    const { state } = this;
    if (ask.is === "connections") {
      if (caller !== this.#caller || this.#isOver) throw notPrepared();
      await this.#tracked.take(ask);
      return {};
    }
    if (ask.is === "recover") return await listenAnew(this.#options.monitor, this.#options.underlayAddress);
    if (ask.is === "rest") return await this.#rest(caller);
    if (ask.is === "finish" && this.#fetch !== null) return await this.#runs(this.#fetch, caller);
    if (state.is !== "listening") {
      throw refused(
        state.is === "failed" ? state : { reason: "target_refused", message: "the target is not ready for that" },
      );
    }
    switch (ask.is) {
      case "check":
        return await checkArrival({ ...this.#options, disks: this.#disks }, ask);
      case "describe":
        this.#xml = withDirtyRing(this.#xml, ask.dirtyRing === true);
        if (ask.postcopy) this.#xml = withMonitor(this.#xml, this.#options.wanted.instanceId);
        return { xml: this.#xml };
      case "prepare":
        return await this.#prepare(ask, caller);
      case "commit":
        return await this.#commit(caller, state);
      case "finish":
        return await this.#finish(ask, caller, state);
      default:
        return unreachable(ask);
    }
  }

  async #prepare(ask: PeerAsk & { is: "prepare" }, caller: symbol): Promise<PeerAnswer<"prepare">> {
    if (this.#caller !== null) throw refused({ reason: "target_refused", message: "it is prepared already" });
    if (ask.transport !== this.#transport) {
      const message = `the source would send by ${ask.transport}, the target takes ${this.#transport} alone: both go by the zone's setting`;
      throw refused({ reason: "not_trusted", message });
    }
    this.#caller = caller;
    this.#postcopy = ask.postcopy;
    this.#connections = ask.connections ?? 1;
    const work = this.#prepareInLibvirt(ask);
    this.#preparing = work.then(
      () => undefined,
      (error: unknown) => this.#failed(error),
    );
    return await work;
  }

  async #prepareInLibvirt(ask: { cookie: string }): Promise<PeerAnswer<"prepare">> {
    const { context, wanted } = this.#options;
    const half = await context.libvirt.openMigration();
    this.#half = half;
    // Ended while the connection was opened: nothing more is begun.
    if (this.#isOver) {
      half.close();
      throw refused({ reason: "target_refused", message: "it has ended" });
    }
    const begun = { cookie: decoded(ask.cookie), xml: this.#xml };
    const prepared = await this.#prepareAtSomePort(half, begun);
    // Not by libvirt's finish (persist-dest): that writes it to the disk while the guest is paused.
    await context.libvirt.domainDefine(this.#xml);
    this.#arriving = context.network.readySwitch(wanted.instanceId, { is: "arrived" });
    crashPoint("migration.target.prepared");
    return { cookie: encoded(prepared.cookie), uri: prepared.uri ?? null };
  }

  async #prepareAtSomePort(half: MigrationHalf, begun: Begun): Promise<Prepared> {
    for (let tried = 1; ; tried++) {
      try {
        return await half.migratePrepare(begun, this.#phases());
      } catch (error) {
        const taken = isLibvirtError(error) && /in use/i.test(messageOf(error));
        if (!taken || tried === prepareTries || this.#isOver) throw error;
      }
    }
  }

  /** libvirt waits with the guest in its hand from here on: whatever of ours dies now, it runs as soon as the source has switched. */
  async #commit(caller: symbol, { port }: Listening): Promise<PeerAnswer<"commit">> {
    const half = this.#preparedBy(caller);
    await this.#promise(port, "committed");
    const fetch = this.#begin(half, port);
    await fetch.begun();
    crashPoint("migration.postcopy.finish-begun");
    return {};
  }

  #begin(half: MigrationHalf, port: number): Fetch {
    const { context } = this.#options;
    const fetch = new Fetch({ libvirt: context.libvirt, half, domain: this.#domain, options: this.#phases() });
    this.#fetch = fetch;
    void this.#whenItRuns(fetch);
    void this.#whenItIsWhole(fetch, half, port);
    return fetch;
  }

  async #whenItRuns(fetch: Fetch): Promise<void> {
    await fetch.ran;
    this.#ran = true;
    this.#options.changed();
    await this.#arriving?.make();
  }

  async #whenItIsWhole(fetch: Fetch, half: MigrationHalf, port: number): Promise<void> {
    const { context, wanted } = this.#options;
    try {
      await fetch.done;
    } catch (error) {
      context.log.warn(
        { err: error, migration: wanted.id, ran: this.#ran },
        "libvirt did not finish a guest that fetches",
      );
      if (!this.#ran) this.#change(failed({ reason: "target_refused", message: messageOf(error) }));
    }
    half.close();
    if (this.#state.is === "finishing") this.#change({ is: "listening", port });
    else this.#options.changed();
  }

  async #runs(fetch: Fetch, caller: symbol): Promise<PeerAnswer<"finish">> {
    this.#preparedBy(caller);
    const arrivedAt = performance.now();
    // It may have run before this was asked.
    const ranAt = await Promise.race([fetch.ran, fetch.done.then(() => performance.now())]);
    return { cookie: null, ranAfterMs: Math.max(0, ranAt - arrivedAt), tookMs: performance.now() - arrivedAt };
  }

  async #rest(caller: symbol): Promise<PeerAnswer<"rest">> {
    this.#preparedBy(caller);
    if (this.#fetch === null) throw refused({ reason: "target_refused", message: "nothing of it is fetched here" });
    const finished = await this.#fetch.done;
    return { cookie: encoded(finished.cookie) };
  }

  #preparedBy(caller: symbol): MigrationHalf {
    if (this.#half !== null && caller === this.#caller) return this.#half;
    throw notPrepared();
  }

  /** Resolves when the record says that the guest may run here, and no end comes any more; refuses where it may not. */
  async #promise(port: number, stage: "finishing" | "committed"): Promise<void> {
    this.#change({ is: "promising", port, stage });
    await Promise.race([this.#promised.promise, this.#ended.promise]);
    if (this.#state.is === "failed") throw refused(this.#state);
  }

  async #finish(ask: { cookie: string }, caller: symbol, listening: Listening): Promise<PeerAnswer<"finish">> {
    const { context, wanted } = this.#options;
    const { instanceId: id } = wanted;
    const half = this.#preparedBy(caller);
    const arrivedAt = performance.now();
    await this.#promise(listening.port, "finishing");
    const telling = setTimeout(this.#options.changed, hushMs);
    crashPoint("migration.target.finish-asked");
    let ranAt: number | null = null;
    const events = context.libvirt.onLifecycle((event) => {
      if (event.domain.name !== id || event.change !== "resumed") return;
      ranAt ??= performance.now();
      this.#ran = true;
    });
    try {
      const finishing = this.#finishInLibvirt(half, decoded(ask.cookie));
      const switching = this.#arriving?.make();
      const finished = await finishing;
      this.#ran = true;
      crashPoint("migration.target.finished");
      // The guest's first moments here are its own: what both hosts do next (records, words, the end of the source's machine) can wait.
      await sleep(settleMs);
      this.#change({ ...listening });
      half.close();
      await switching;
      // The source ends its own machine on this answer: that the guest is here must outlive this host's next moment.
      await this.#options.word(false);
      return {
        cookie: encoded(finished.cookie),
        ranAfterMs: ranAt === null ? null : ranAt - arrivedAt,
        tookMs: performance.now() - arrivedAt,
      };
    } catch (error) {
      context.network.settle(id, { is: "coming" });
      if (isOutcomeUnknown(error)) void this.#doubt(error);
      else this.#failed(error);
      throw error;
    } finally {
      clearTimeout(telling);
      void events.close();
    }
  }

  async #finishInLibvirt(half: MigrationHalf, cookie: Uint8Array): Promise<Finished> {
    return await half.migrateFinish(this.#domain, cookie, false, { ...this.#phases(), deadlineMs: finishMs });
  }

  /** An answer that did not come may come true for a while yet; then this connection ends, and libvirt says what is. */
  async #doubt(error: unknown): Promise<void> {
    await sleep(isFailure(error, "timeout") ? doubtMs : lostDoubtMs);
    this.#half?.close();
    this.#failed(error, true);
  }

  #failed(error: unknown, inDoubt = false): void {
    this.#change(failed({ reason: "target_refused", message: messageOf(error) }, inDoubt));
    void this.#discard();
  }

  /** libvirt throws away a machine that waits for its memory; what it does not the rules end. Never rejects. */
  async #discard(): Promise<void> {
    const { context, wanted } = this.#options;
    this.#arriving?.drop();
    const half = this.#half;
    if (half === null) return;
    try {
      const options = { ...this.#phases(), deadlineMs: cancelMs };
      await half.migrateFinish(this.#domain, new Uint8Array(0), true, options);
    } catch (error) {
      context.log.debug({ err: error, migration: wanted.id }, "libvirt had nothing to throw away");
    }
    half.close();
  }

  /** libvirt looks it up by its name. */
  get #domain(): DomainRef {
    const { instanceId } = this.#options.wanted;
    return { name: instanceId, uuid: domainUuid(instanceId), id: -1 };
  }

  /** With no port named libvirt takes one of its own range that is free. */
  #phases(): MigrationOptions {
    const { underlayAddress } = this.#options;
    const params = { uri: `tcp://${underlayAddress}`, listenAddress: underlayAddress };
    return phases(this.#transport, this.#disks, params, {
      postcopy: this.#postcopy,
      connections: this.#connections,
    });
  }
}

function notPrepared(): Error {
  return refused({ reason: "target_refused", message: "nothing was prepared by this connection" });
}

/** Of what the making of a machine found first. */
function reasonOf(error: unknown): MigrationReason {
  if (isNotTrusted(error)) return "not_trusted";
  if (isFailure(error) && (error.code === "DiskMissing" || error.code === "SharedFolderMissing")) return "disk_missing";
  return isFailure(error) && error.detail["lacks"] === "processor" ? "cpu_differs" : "target_refused";
}
