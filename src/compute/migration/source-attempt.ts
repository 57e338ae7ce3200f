/**
 * The one attempt of a source to hand its guest on: the target's machine, the copy, the hand-over; libvirt's phases on a connection of
 * their own, so that what is unfinished of them ends with this process.
 *
 * From `performed` on the guest is paused here and may run there; a failure after that is no verdict, and the rules ask the target.
 * Nothing here resumes a guest whose copy was whole.
 */
import { performance } from "node:perf_hooks";
import type { LinkFacts } from "../../api/agent-preflight.ts";
import type { MigrationReason, MigrationTransport, Progress } from "../../core/migration/halves.ts";
import { brakes, mayFetch, type Plan } from "../../core/migration/policy.ts";
import type { Prediction } from "../../core/migration/prediction.ts";
import type { SourceFacts } from "../../core/migration/preflight.ts";
import type { SourceAttempt as State } from "../../core/migration/source.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { Failure, formatError, isFailure } from "../../lib/errors.ts";
import type { HostId, MigrationId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { MigrationFlag, MigrationHalf, MigrationOptions } from "../../libvirt/migration-contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { TrackedNic } from "../network/connections.ts";
import type { ReadySwitch } from "../network/switch.ts";
import { messageOf } from "../vm/failures.ts";
import { brakeOf, type Brake } from "./brake.ts";
import { ConnectionCarrier } from "./connections.ts";
import { decoded, encoded, withoutPreempt } from "./cookie.ts";
import type { PeerLink } from "./dial.ts";
import { foretell } from "./foretell.ts";
import { linkLost } from "./lines.ts";
import { isNotTrusted } from "./qemu-certificate.ts";
import { now, wall, type Story } from "./story.ts";
import { firstLimitMs, quietMs, Watch } from "./watch.ts";
import { refusalIn } from "./wire.ts";

export interface SourceAttemptOptions {
  readonly libvirt: Hypervisor;
  readonly migration: MigrationId;
  readonly dial: () => Promise<PeerLink>;
  readonly silenceMs: number;
  readonly targetHostId: HostId;
  readonly transport: () => Promise<MigrationTransport>;
  readonly connections: () => number;
  readonly domain: DomainRef | null;
  /** Tries the link to a port of the target's. */
  readonly probe: (port: number, signal: AbortSignal) => Promise<LinkFacts>;
  /** What a pause takes beside sending the rest. */
  readonly fixedMs: number;
  /** What the target is to look at before it takes the guest. */
  readonly facts: () => Promise<SourceFacts>;
  /** Those that are copied with the memory, by their names in the machine. */
  readonly disks: readonly string[];
  /** Makes ready what lets the guest's addresses lead to the target. */
  readonly readyToLeave: () => ReadySwitch;
  /** Where its connections are tracked. */
  readonly nics: () => readonly (TrackedNic | null)[];
  readonly changed: () => void;
  readonly log: Log;
  readonly plan: Plan;
  readonly story: Story;
}

const askMs = 60_000;
/** So much longer than planned the guest stays paused before a hand-over that stands still is called off. */
const restMs = 12_000;
/** A copy sends all the time until the guest is paused, whatever the guest does: what stands still for so many times as long as a host may be silent is lost. */
const stalledSilences = 2;
/** Longer than the target waits for its libvirt. */
const finishMs = 40_000;
const performMs = 24 * 3_600_000;
/** Longer than libvirt takes to end a copy, where no other host has a part in that. */
const hangUpMs = 5_000;
/** Longer than a pause should be: what a report of it sets going would take processor time in it, at both hosts. */
export const hushMs = 250;

/**
 * `unsafe`: libvirt takes a folder for shared only if it knows its file system. Here VStation and the mark in the folder say so
 * (storage/disk-files.ts), and the target has refused what lies elsewhere. By TLS the source demands a certificate of the very target, which
 * goes by its id; QEMU at the target one of a host of the zone. `disks` (vda, ...) are mirrored, each by what it has above its image. Not with
 * libvirt's "non-shared-synchronous-writes": a QEMU that ends such a mirror early, because it is told to or its target is gone, writes into
 * memory that it has freed, and may end with the guest in it (decision 23).
 */
export function phases(
  transport: MigrationTransport,
  disks: readonly string[] = [],
  params: MigrationOptions["params"] = {},
  how: { readonly rested?: boolean; readonly postcopy?: boolean; readonly connections?: number } = {},
): MigrationOptions {
  const flags: MigrationFlag[] = ["live", "undefine-source", "change-protection", "abort-on-error", "unsafe"];
  if (transport === "tls") flags.push("tls");
  if (how.rested === true) flags.push("auto-converge");
  if (how.postcopy === true) flags.push("postcopy");
  const { connections = 1 } = how;
  if (connections > 1) flags.push("parallel");
  const over = connections > 1 ? { ...params, parallelConnections: connections } : params;
  if (disks.length === 0) return { flags, params: over };
  flags.push("non-shared-inc");
  return { flags, params: { ...over, disks } };
}

/** To a confirm that takes a copy back libvirt asks for nothing of how it was to be made. */
export const nothing: MigrationOptions = phases("plain");

export class SourceAttempt {
  readonly #options: SourceAttemptOptions;
  #state: State = { is: "running", handing: false, progress: null };
  #cancelled = false;
  /** Why the copy is to end, as soon as there is one. */
  #ending: Failure | null = null;
  #link: PeerLink | null = null;
  #half: MigrationHalf | null = null;
  #watch: Watch | null = null;
  #leaving: ReadySwitch | null = null;
  /** Where the policy may slow the guest. */
  #brake: Brake | null = null;
  /** What QEMU had sent, and when a look first found it so. */
  #sent: { readonly bytes: number; readonly at: number } | null = null;
  /** Runs while the guest is paused here and its copy is not whole. */
  #handOver: NodeJS.Timeout | undefined;
  /** Runs while a copy that was to end has not ended. */
  #hangUp: NodeJS.Timeout | undefined;
  /** When the guest was paused here, by this process's clock. */
  #pausedAt: number | null = null;
  /** The target may let the guest run without another word from here. */
  #committing = false;

  constructor(options: SourceAttemptOptions) {
    this.#options = options;
    void this.#run();
  }

  get state(): State {
    return this.#state;
  }

  /** What QEMU was last allowed to take for the rest; null: no copy was begun, or it was to go over by post-copy, for which there is no limit. */
  get limitMs(): number | null {
    return this.#committing ? null : (this.#watch?.limitMs ?? null);
  }

  /** Ends the copy, if it is not too late. */
  cancel(): void {
    this.#cancelled = true;
    this.#endCopy(new Failure("conflict", "MigrationCancelled", "it was cancelled"));
  }

  /** Lets go of everything, as this process's death would. */
  abandon(): void {
    this.#link?.close();
    this.#half?.close();
    this.#leaving?.drop();
  }

  async #run(): Promise<void> {
    const { libvirt, log, migration, changed, domain, plan, story } = this.#options;
    // Both come by libvirt, which may be held up in the pause; QEMU's event has QEMU's own stamp, and is the first of the two.
    let stoppedMicros: number | null = null;
    const stops = libvirt.onMonitor({ event: "STOP" }, (event) => {
      if (event.domain.uuid === domain?.uuid) stoppedMicros = event.atMicros;
    });
    const events = libvirt.onLifecycle((event) => {
      if (event.domain.uuid !== domain?.uuid || event.change !== "suspended" || event.detail !== "migrated") return;
      // libvirt tells of it once more by post-copy.
      if (this.#pausedAt !== null) return;
      const heardAt = performance.now();
      const lateMs = stoppedMicros === null ? 0 : Math.max(0, Date.now() - stoppedMicros / 1_000);
      this.#pausedAt = heardAt - lateMs;
      this.#watch?.stop();
      this.#handOver = setTimeout(() => this.#restIsLate(), plan.ceilingMs + restMs);
      story.step("paused", wall(this.#pausedAt));
      story.step("heard", wall(heardAt));
    });
    let performed = false;
    try {
      if (domain === null) throw new Error("there is no guest to move");
      const pauseMs = await this.#phases(domain, () => (performed = true));
      this.#state = { is: "moved", pauseMs };
    } catch (error) {
      log.warn({ chain: formatError(error), migration, performed }, "a migration failed at its source");
      if (!performed && domain !== null) await this.#undo(domain);
      this.#state = { is: "failed", asked: performed || this.#committing, ...this.#why(error) };
    } finally {
      clearTimeout(this.#hangUp);
      this.abandon();
      void events.close();
      void stops.close();
      void this.#watch?.close();
    }
    changed();
  }

  async #phases(domain: DomainRef, onPerformed: () => void): Promise<number | null> {
    const { libvirt, dial, facts, readyToLeave, changed, log, migration, nics, targetHostId, plan, story } =
      this.#options;
    const transport = await this.#options.transport();
    const link = await dial();
    this.#link = link;
    story.step("dialled");
    const postcopy = mayFetch(plan.policy);
    const guest = await facts();
    const { port } = await link.ask({ is: "check", facts: guest, postcopy }, askMs);
    const foretold = port === null ? null : this.#foretell(domain, guest, port);
    const carrier = new ConnectionCarrier({ link, nics, isQuiet: () => this.#isQuiet, log });
    const brake = brakeOf(libvirt, domain, guest);
    const braked = brakes(plan.policy);
    if (braked) {
      this.#brake = brake;
      await brake.arm();
    }
    const half = await libvirt.openMigration();
    this.#half = half;
    void link.over.then((why) => this.#endCopy(why));
    const ring = guest.dirtyRing === true ? { dirtyRing: true } : {};
    const { xml } = await link.ask({ is: "describe", postcopy, ...ring }, askMs);
    const connections = postcopy ? 1 : this.#options.connections();
    const named = transport === "tls" ? { tlsDestination: targetHostId } : {};
    const options = phases(
      transport,
      this.#options.disks,
      { destinationXml: xml, ...named },
      { rested: braked && guest.dirtyRing !== true, postcopy, connections },
    );
    const begun = await half.migrateBegin(domain, options);
    crashPoint("migration.source.begun");
    const one = postcopy ? withoutPreempt : (cookie: Uint8Array): Uint8Array => cookie;
    const many = connections > 1 ? { connections } : {};
    const asked = { is: "prepare", cookie: encoded(one(begun.cookie)), transport, postcopy, ...many } as const;
    const prepared = await link.ask(asked, askMs);
    crashPoint("migration.source.prepared");
    story.step("prepared");
    const prediction = await foretold;
    if (prediction !== null) story.add({ is: "foretold", at: now(), prediction });
    await libvirt.migrateSetMaxDowntime(domain, BigInt(firstLimitMs));
    if (this.#ending !== null) throw this.#ending;
    const watch = this.#watchOf(domain, brake, () => this.#switch(link, domain));
    carrier.begin();
    const leaving = readyToLeave();
    this.#leaving = leaving;
    let cookie: Uint8Array;
    try {
      const to = { cookie: one(decoded(prepared.cookie)), uri: prepared.uri ?? undefined };
      cookie = await half.migratePerform(domain, to, { ...options, deadlineMs: performMs });
    } finally {
      clearTimeout(this.#handOver);
      watch.stop();
      carrier.stop();
    }
    onPerformed();
    this.#state = { is: "running", handing: true, progress: null };
    crashPoint("migration.source.performed");
    // The guest is paused: nothing comes before the word that lets it run.
    const sentAt = performance.now();
    const answered = link.ask({ is: "finish", cookie: encoded(cookie) }, finishMs);
    const left = leaving.make();
    const telling = setTimeout(changed, hushMs);
    const finished = await answered.finally(() => clearTimeout(telling));
    const answeredAt = performance.now();
    crashPoint("migration.source.finished");
    // By one clock alone: half of the way there and back, and what the target says that it took until the guest ran.
    const wayMs = Math.max(0, answeredAt - sentAt - finished.tookMs) / 2;
    const resumedAt = sentAt + wayMs + (finished.ranAfterMs ?? finished.tookMs);
    const pauseMs = this.#pausedAt === null ? null : Math.max(0, resumedAt - this.#pausedAt);
    if (finished.cookie !== null) story.step("copied", wall(sentAt));
    story.step("resumed", wall(resumedAt));
    await left;
    await carrier.last();
    const rest = finished.cookie ?? (await this.#feed(link));
    try {
      await half.migrateConfirm(domain, decoded(rest), false, options);
    } catch (error) {
      // It runs there: what is left here is ended by the rules.
      log.warn({ err: error, migration }, "libvirt did not take back the half of a guest that has moved");
    }
    crashPoint("migration.source.confirmed");
    story.step("confirmed");
    return pauseMs;
  }

  /** Never rejects: a guest is moved without it as well. */
  async #foretell(domain: DomainRef, guest: SourceFacts, port: number): Promise<Prediction | null> {
    const { libvirt, log, probe, plan, fixedMs } = this.#options;
    const link = (signal: AbortSignal) => probe(port, signal);
    return await foretell({ libvirt, domain, guest, link, limitMs: plan.aimMs, fixedMs, log });
  }

  /** The guest runs there; resolves when all of its memory does too. */
  async #feed(link: PeerLink): Promise<string> {
    const { changed, story } = this.#options;
    this.#state = { is: "feeding" };
    changed();
    crashPoint("migration.postcopy.feeding");
    const { cookie } = await link.ask({ is: "rest" }, performMs);
    story.step("copied");
    return cookie;
  }

  /** The target first: should anything here end after that, its guest runs all the same. */
  async #switch(link: PeerLink, domain: DomainRef): Promise<void> {
    const { libvirt, plan } = this.#options;
    // From `commit` on the target's guest runs as soon as its machine is whole: the copy is not to come to its end by itself now.
    await libvirt.migrateSetMaxDowntime(domain, BigInt(firstLimitMs));
    try {
      this.#committing = true;
      await link.ask({ is: "commit" }, askMs);
      crashPoint("migration.postcopy.source-committed");
      if (this.#ending !== null) throw this.#ending;
      await libvirt.migrateStartPostcopy(domain);
    } catch (error) {
      await libvirt.migrateSetMaxDowntime(domain, BigInt(plan.aimMs));
      throw error;
    }
    crashPoint("migration.postcopy.switched");
  }

  #watchOf(domain: DomainRef, brake: Brake, postcopy: () => Promise<void>): Watch {
    const { libvirt, changed, log, migration, plan, story } = this.#options;
    this.#watch = new Watch({
      ...{ libvirt, domain, migration, plan, brake, story, log },
      progress: (progress) => {
        // Where libvirt had no copy to abort yet it has one now.
        if (this.#ending !== null) this.#endCopy(this.#ending);
        this.#expectSent(progress);
        this.#state = { is: "running", handing: false, progress };
        changed();
      },
      postcopy,
      giveUp: (why) => this.#endCopy(new Failure("conflict", "MigrationNotInTime", why)),
    });
    return this.#watch;
  }

  /** The halves have each other by a connection of their own; the end of QEMU's TCP alone would tell after a quarter of an hour. */
  #expectSent({ sentBytes, disks }: Progress): void {
    const at = performance.now();
    const bytes = sentBytes + (disks === undefined ? 0 : disks.totalBytes - disks.remainingBytes);
    if (this.#sent?.bytes !== bytes) this.#sent = { bytes, at };
    if (at - this.#sent.at > this.#stalledMs) this.#endCopy(linkLost("nothing was sent for some time"));
  }

  get #stalledMs(): number {
    return stalledSilences * this.#options.silenceMs;
  }

  /** The guest was paused a moment ago, and what is done about anything else would make its pause longer. */
  get isHushed(): boolean {
    return this.#state.is === "running" && this.#pausedAt !== null && performance.now() - this.#pausedAt < hushMs;
  }

  /** By post-copy nothing ends the copy any more: it is left to itself, as by this process's death, and the target's word decides. */
  #restIsLate(): void {
    // libvirt may tell of the pause when its copy has gone well already.
    if (this.#state.is !== "running" || this.#state.handing) return;
    if (this.#mayEnd) return this.#endCopy(this.#lateRest);
    this.#ending ??= this.#lateRest;
    this.abandon();
  }

  /** In the pause; what is left of the disks goes over in it, too. */
  get #lateRest(): Failure {
    return this.#options.disks.length > 0
      ? new Failure(
          "conflict",
          "MigrationNotInTime",
          "the rest of its memory and disks took too long while it was paused",
        )
      : linkLost("the rest did not go over");
  }

  /** The pause is near, or there. */
  get #isQuiet(): boolean {
    const state = this.#state;
    if (state.is !== "running" || state.handing) return true;
    const { remainingBytes = Infinity, bytesPerSecond = 0 } = state.progress ?? {};
    return remainingBytes < (bytesPerSecond * quietMs) / 1_000;
  }

  /** Not where it may run there in the next moment: QEMU would let it run here, too. */
  get #mayEnd(): boolean {
    return this.#state.is === "running" && !this.#state.handing && !(this.#committing && this.#pausedAt !== null);
  }

  #endCopy(why: Failure): void {
    this.#ending ??= why;
    const { libvirt, domain, log, migration } = this.#options;
    if (!this.#mayEnd || domain === null) return;
    libvirt.jobAbort(domain).catch((error: unknown) => log.debug({ err: error, migration }, "no copy was aborted"));
    // A mirror ends only with what it has sent to a QEMU that may stand still: that one is ended by its own Compute, when it is left.
    this.#hangUp ??= setTimeout(() => {
      if (this.#mayEnd) this.#link?.close();
    }, hangUpMs);
  }

  /** Of a copy that failed libvirt puts the guest right by itself; of one that was not begun it is told to forget. */
  async #undo(domain: DomainRef): Promise<void> {
    const { log, migration } = this.#options;
    try {
      await this.#half?.migrateConfirm(domain, new Uint8Array(0), true, nothing);
    } catch (error) {
      log.warn({ err: error, migration }, "libvirt did not take back a copy that failed");
    }
    try {
      await this.#brake?.release();
    } catch (error) {
      // QEMU rests no guest without a copy, and limits are lifted once more when it is known that the guest stays.
      log.debug({ err: error, migration }, "the brake was not released");
    }
  }

  #why(error: unknown): { reason: MigrationReason; message: string } {
    if (this.#cancelled) return { reason: "cancelled", message: "it was cancelled while it was copied" };
    const refusal = refusalIn(error);
    if (refusal !== undefined) return refusal;
    // libvirt's word for a copy that was ended says nothing of why.
    const why = this.#ending ?? error;
    if (isFailure(why) && why.code === "MigrationNotInTime") return { reason: "not_in_time", message: why.message };
    const lost = isFailure(why) && (why.code === "MigrationLinkLost" || why.code === "DeadlineExceeded");
    const reason = isNotTrusted(why) ? "not_trusted" : lost ? "link_lost" : "copy_failed";
    return { reason, message: messageOf(why) };
  }
}
