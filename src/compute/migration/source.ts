/**
 * The source's half of a migration: the loop around core/migration/source.ts. It alone writes the half's record; the copy itself is in
 * source-attempt.ts.
 *
 * What can race: the attempt, whose state is read once a turn; libvirt, whose word is asked for anew after everything that was done;
 * VStation's word of the target's fate with the target's own, which are the same word.
 */
import { performance } from "node:perf_hooks";
import type { LinkFacts } from "../../api/agent-preflight.ts";
import type { WantedMigration } from "../../api/agent.ts";
import type { GuestClass } from "../../core/migration/aim.ts";
import type { Fate, SourceState } from "../../core/migration/halves.ts";
import { mayFetch } from "../../core/migration/policy.ts";
import {
  decideSource,
  isUp,
  wordOf,
  type Feed,
  type SourceRecord,
  type SourceStep,
} from "../../core/migration/source.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { unreachable } from "../../lib/errors.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Identity } from "../link/identity.ts";
import { migrationFile, storyFile } from "../paths.ts";
import type { Worker } from "../vm/worker.ts";
import { PeerLink, type Peer } from "./dial.ts";
import { sourceFacts } from "./facts.ts";
import { letGo, lookEveryMs, Turns, type Half, type MigrationContext, type Rest } from "./half.ts";
import { removeLeft, targetsOf } from "./local-disks.ts";
import { lookAt, unseen, type Looked } from "./look.ts";
import { Leftover } from "./leftover.ts";
import { isReleased } from "./memory.ts";
import { classOfGuest } from "./pauses.ts";
import { keep } from "./records.ts";
import { probeLink } from "./probe.ts";
import { RestOfMemory } from "./rest-of-memory.ts";
import { hushMs, SourceAttempt } from "./source-attempt.ts";
import { Story } from "./story.ts";

/** The link is tried so long while the target gets ready. */
const shortProbeMs = 200;
const lookOftenMs = 500;
/** The target decides within it, or is asked again. */
const wordMs = 20_000;
/** After as many silences without an answer it is not waited for where it need not be. */
const vainSilences = 5;

type Wanted = WantedMigration & { half: { is: "source" } };

export class SourceHalf implements Half {
  readonly #m: MigrationContext;
  readonly #worker: Worker;
  readonly #turns: Turns;
  #wanted: Wanted;
  #named: boolean;
  #record: SourceRecord | null;
  #ours = false;
  #attempt: SourceAttempt | null = null;
  /** Of the attempt. */
  #aim: { readonly of: GuestClass; readonly aimMs: number } | null = null;
  readonly #rest: RestOfMemory;
  readonly #leftover: Leftover;
  /** The addresses of a guest that runs there already lead there. */
  #leads = false;
  #heard: Fate | null = null;
  /** Since when it has been asked for its word without an answer. */
  #unheardSince: number | null = null;
  readonly #story: Story;
  /** With so many notable lines it was told to VStation. */
  #toldNotable = 0;

  constructor(m: MigrationContext, wanted: Wanted, record: SourceRecord | null, named: boolean) {
    this.#m = m;
    this.#wanted = wanted;
    this.#record = record;
    this.#named = named;
    this.#worker = m.fleet.migrating(wanted.instanceId, "source");
    this.#story = new Story(storyFile(m.context.paths, wanted.id), m.context.log);
    this.#rest = new RestOfMemory(m.context, wanted, this.#story);
    this.#leftover = new Leftover(m.context.libvirt);
    if (record?.stage === "left") this.#network.place(wanted.instanceId, this.#gone);
    this.#turns = new Turns(
      () => this.#turn(),
      (error) => m.context.log.warn({ err: error, migration: wanted.id }, "a step of a migration failed at its source"),
    );
  }

  get wanted(): Wanted {
    return this.#wanted;
  }

  tell(wanted: WantedMigration | null): void {
    this.#named = wanted !== null;
    // VStation tells the port as long as the target listens for a beginning; the word can be asked for there longer.
    if (wanted?.half.is === "source") {
      const { port, disks } = this.#wanted.half;
      // What was copied is what is removed: a disk that is taken out at the target since then still lies here.
      const begun = this.#record === null ? {} : { disks };
      this.#wanted = { ...wanted, half: { ...wanted.half, port: wanted.half.port ?? port, ...begun } };
    }
    this.wake();
  }

  wake(): void {
    this.#turns.wake();
  }

  async stop(): Promise<void> {
    this.#attempt?.abandon();
    await this.#turns.stop();
  }

  get #network() {
    return this.#m.context.network;
  }

  get #gone() {
    return { is: "gone", vtep: this.#wanted.half.address } as const;
  }

  async #turn(): Promise<Rest> {
    if (this.#attempt?.isHushed) return { ms: hushMs };
    const { half, wish } = this.#wanted;
    if (this.#record !== null) await this.#story.read();
    const attempt = this.#attempt?.state ?? null;
    const inVain =
      this.#unheardSince !== null && performance.now() - this.#unheardSince > vainSilences * this.#m.silenceMs;
    // What is not final was heard before what VStation tells.
    const fate = this.#heard === null || this.#heard === "fetching" ? (half.fate ?? this.#heard) : this.#heard;
    if (fate === "fetching" && !this.#leads) {
      this.#leads = true;
      this.#network.settle(this.#wanted.instanceId, this.#gone);
    }
    const looked = await this.#look(() => wordOf({ fate, attempt, inVain, kept: this.#leftover.isKept }));
    const feed = await this.#feed(looked);
    const { step, say } = decideSource({
      wish: this.#named ? wish : "over",
      port: half.port,
      fate,
      record: this.#record,
      attempt: this.#attempt?.state ?? null,
      inVain,
      kept: this.#leftover.isKept,
      ours: this.#ours,
      guest: looked.guest,
      postcopy: mayFetch(half.policy),
      feed,
    });
    this.#say(say);
    return await this.#do(step, looked);
  }

  async #feed(looked: Looked): Promise<Feed> {
    const isCopied = this.#attempt?.state.is === "running";
    // Nobody asks for it while the attempt decides, and a question to QEMU may fall into the pause.
    if (!mayFetch(this.#wanted.half.policy) || this.#record?.stage !== "copying" || isCopied)
      return { is: "none", remainingBytes: null };
    return await this.#rest.look(looked, this.#attempt?.state.is === "feeding");
  }

  #say(state: SourceState): void {
    const { id } = this.#wanted;
    const isLast = state.is === "stayed" || state.is === "left";
    if (isLast) this.#story.end(state);
    const { notable, lines } = this.#story;
    const story = isLast || notable > this.#toldNotable ? { story: [...lines] } : {};
    this.#toldNotable = notable;
    this.#m.publish(id, { id, half: { is: "source", state, ...story } });
  }

  /** While the attempt is under way nobody needs to know, and the guest's last moments here are not to be disturbed. */
  async #look(word: () => Fate | null): Promise<Looked> {
    const { libvirt, log } = this.#m.context;
    if (this.#attempt?.state.is === "running") return unseen;
    try {
      const looked = await lookAt(libvirt, this.#wanted.instanceId);
      return (await this.#undoCopy(looked, word)) ? await lookAt(libvirt, this.#wanted.instanceId) : looked;
    } catch (error) {
      log.warn({ err: error, migration: this.#wanted.id }, "libvirt did not say how a guest that moves is");
      return unseen;
    }
  }

  /** Of a copy that nobody leads any more. True: the guest may not be any more as it was seen. */
  async #undoCopy(looked: Looked, word: () => Fate | null): Promise<boolean> {
    const attempt = this.#attempt?.state ?? null;
    if (this.#record?.stage !== "copying" || (this.#ours && attempt === null)) return false;
    // A program that died, or a copy that ended in its pause, may have left the guest slowed; no word is waited for to undo that.
    if (!this.#ours || attempt?.is === "failed") await this.#lift(looked);
    // By post-copy the target is asked before everything is sent.
    if (attempt === null && !mayFetch(this.#wanted.half.policy)) await this.#leftover.seeWhetherKept(looked);
    if (word() !== "dropped" || this.#leftover.isRighted || looked.domain === null) return false;
    await this.#leftover.putRight(looked.domain);
    return true;
  }

  /** What it does not lift now it lifts at the next look; where the guest is is known all the same. */
  async #lift(looked: Looked): Promise<void> {
    try {
      await this.#leftover.lift(looked);
    } catch (error) {
      const about = { err: error, migration: this.#wanted.id };
      this.#m.context.log.warn(about, "a guest that was slowed for its copy could not be let go");
    }
  }

  async #do(step: SourceStep, { domain }: Looked): Promise<Rest> {
    const { context, forgetWanted } = this.#m;
    const { instanceId } = this.#wanted;
    switch (step.do) {
      case "wait":
        return this.#attempt?.state.is === "running" ? "wait" : { ms: lookEveryMs };
      case "rejoin":
        if (domain === null || !this.#rest.mayRejoin()) return { ms: lookOftenMs };
        await this.#rejoin(domain);
        return { ms: lookOftenMs };
      case "record":
        await this.#write(step.record);
        return "now";
      case "attempt":
        await this.#worker.atRest();
        this.#begin(domain);
        return "wait";
      case "cancel":
        this.#attempt?.cancel();
        return "wait";
      case "ask":
        this.#heard = await this.#ask();
        return this.#heard === "fetching" ? { ms: lookEveryMs } : "now";
      case "resume":
        if (domain !== null) {
          await this.#leftover.putRight(domain);
          if (this.#leftover.isRighted && (await lookAt(context.libvirt, instanceId)).guest === "paused") {
            await context.libvirt.domainResume(domain);
          }
        }
        // What does not let it run lasts.
        return { ms: lookOftenMs };
      case "destroy":
        if (domain !== null) await context.libvirt.domainDestroy(domain, { graceful: false });
        return "now";
      case "clean":
        await forgetWanted(instanceId, this.#wanted.half.epoch);
        crashPoint("migration.source.document-forgotten");
        await removeLeft(context, this.#wanted.half.disks);
        crashPoint("migration.disks.left-removed");
        await this.#worker.vanish();
        crashPoint("migration.source.cleaned");
        this.#network.place(instanceId, { is: "here" });
        await this.#network.sync();
        break;
      case "forget":
        break;
      default:
        return unreachable(step);
    }
    await this.#story.remove();
    await letGo(this.#m, this.#wanted, { worker: this.#worker, turns: this.#turns });
    return "wait";
  }

  async #write(record: SourceRecord): Promise<void> {
    const { context } = this.#m;
    const { id, instanceId } = this.#wanted;
    await keep(context.write, migrationFile(context.paths, id), { wanted: this.#wanted, record });
    if (record.stage === "copying") this.#ours = true;
    this.#record = record;
    switch (record.stage) {
      case "copying":
        crashPoint("migration.source.copying-written");
        return;
      case "stayed":
        crashPoint("migration.source.stayed-written");
        return this.#network.settle(instanceId, { is: "here" });
      case "left":
        crashPoint("migration.source.left-written");
        this.#remember(record.pauseMs);
        context.log.info({ migration: id, instance: instanceId, pauseMs: record.pauseMs }, "a guest has moved away");
        return this.#network.settle(instanceId, this.#gone);
      default:
        return unreachable(record);
    }
  }

  #remember(pauseMs: number | null): void {
    const limitMs = this.#attempt?.limitMs ?? null;
    if (pauseMs === null || limitMs === null || this.#aim === null) return;
    const { of, aimMs } = this.#aim;
    this.#m.pauses.remember({ of, pauseMs, limitMs }, aimMs);
  }

  #begin(domain: DomainRef | null): void {
    const { context } = this.#m;
    const { id, instanceId } = this.#wanted;
    const { policy, ceilingMs } = this.#wanted.half;
    const spec = context.wanted(instanceId)?.doc.spec;
    // Of one that is not known here any more the attempt fails.
    const of = spec === undefined ? null : classOfGuest(spec);
    const { limitMs, fixedMs } = this.#m.pauses.switchover(of);
    const aimMs = Math.min(limitMs, ceilingMs);
    const plan = { policy, ceilingMs, aimMs };
    this.#aim = of === null ? null : { of, aimMs };
    this.#story.begin(plan);
    this.#attempt = new SourceAttempt({
      libvirt: context.libvirt,
      migration: id,
      dial: () => this.#dial(),
      silenceMs: this.#m.silenceMs,
      targetHostId: this.#wanted.half.targetHostId,
      transport: this.#m.transport,
      connections: this.#m.connections,
      domain,
      probe: (port, signal) => this.#probe(port, signal),
      fixedMs,
      facts: () => sourceFacts(context, instanceId),
      disks: targetsOf(this.#wanted.half.disks),
      readyToLeave: () => this.#network.readySwitch(instanceId, this.#gone),
      nics: () => this.#network.tracked(instanceId),
      changed: () => this.wake(),
      log: context.log,
      plan,
      story: this.#story,
    });
  }

  /** The two QEMUs, which lost each other: the target's listens anew, and this one goes on there. */
  async #rejoin(domain: DomainRef): Promise<void> {
    const { context } = this.#m;
    const link = await this.#dial();
    try {
      const { uri } = await link.ask({ is: "recover" }, wordMs);
      await context.libvirt.qmp(domain, "migrate", { uri, resume: true });
      this.#story.step("rejoined");
      context.log.info({ migration: this.#wanted.id }, "the two halves of a guest were joined again");
    } finally {
      link.close();
    }
  }

  async #dial(): Promise<PeerLink> {
    const { peer, identity } = this.#peer();
    return await PeerLink.dial(peer, { migration: this.#wanted.id, silenceMs: this.#m.silenceMs }, identity);
  }

  async #probe(port: number, signal: AbortSignal): Promise<LinkFacts> {
    const { peer, identity } = this.#peer();
    return await probeLink({ ...peer, port }, identity, shortProbeMs, signal);
  }

  #peer(): { peer: Peer; identity: Identity } {
    const { half } = this.#wanted;
    const identity = this.#m.identity();
    if (identity === undefined || half.port === null) throw new Error("there is nobody to dial, or no certificate yet");
    return { peer: { hostId: half.targetHostId, address: half.address, port: half.port }, identity };
  }

  async #ask(): Promise<Fate> {
    this.#unheardSince ??= performance.now();
    const released = await this.#release();
    const link = await this.#dial();
    try {
      const { fate } = await link.ask({ is: "word", released }, wordMs);
      this.#unheardSince = null;
      return fate;
    } finally {
      link.close();
    }
  }

  /** A copy that this process does not lead is ended first, where it can be: the target waits for nothing then. */
  async #release(): Promise<boolean> {
    const { libvirt } = this.#m.context;
    if (!mayFetch(this.#wanted.half.policy)) return false;
    const { instanceId } = this.#wanted;
    const looked = await lookAt(libvirt, instanceId);
    if (isUp(looked.guest) && looked.domain !== null) {
      await libvirt.jobAbort(looked.domain).catch((error: unknown) => {
        if (!isLibvirtError(error)) throw error;
      });
    }
    return this.#rest.isStuck || (await isReleased(libvirt, await lookAt(libvirt, instanceId)));
  }
}
