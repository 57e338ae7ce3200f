/**
 * Writes the log of calls: who asked for what, from where, and how it ended. Both edges open one entry per call and end it once.
 *
 * A call that can change something is written down **before** it begins, and is refused (`DatabaseUnavailable`) when that fails: there
 * is no change without a line. The line is committed by itself and not in the call's own transaction, because a call may have
 * several of these, or none (a console); calls that come together are committed together, so it costs one commit and not
 * one per call. How it ended is added later, in batches. A process that dies in between leaves a line without an outcome: that
 * the outcome is not known is then the truth, and the operation has it.
 *
 * Reads, and calls of those who could not prove who they are, are written after the fact, in batches. They wait in a bounded queue
 * while the database is away; what does not fit is lost and counted (`vstation_audit_lost_total`). Strangers get a share of their
 * own, so that a flood of them pushes nobody else's lines out and does not fill the database. A read that is repeated, as by whoever
 * waits, is told once (audit-repeats.ts).
 */
import type { Counter } from "prom-client";
import { failure } from "../core/failure-codes.ts";
import type { Log } from "../lib/log.ts";
import { backoff, sleep } from "../lib/retry.ts";
import { AuditRepeats } from "./audit-repeats.ts";
import type { Edge } from "./cloud-tenancy.ts";
import { accessKeysUsed } from "./store/access-keys.ts";
import { auditEnd, auditInsert, type AuditEnd, type AuditRow } from "./store/audit.ts";
import { logRetry, type Store } from "./store/database.ts";

/** A call as it becomes known; the edge fills it in while it reads the request. */
export interface AuditEntry {
  readonly at: Date;
  readonly edge: Edge;
  action: string;
  changes: boolean;
  accountId: string | null;
  /** Set once it is proven. */
  actor: string | null;
  resourceIds: string[];
  readonly source: string;
  readonly agent: string | null;
  readonly requestId: string;
  /** Of the line that was written before the call began. */
  line?: string;
}

/** What the edges use; without one (in tests of the wire) nothing is written. */
export interface AuditWriter {
  /** Resolves when a call that changes something may begin. */
  begin(entry: AuditEntry): Promise<void>;
  end(entry: AuditEntry, outcome: string): void;
}

const flushMs = 250;
const batchRows = 2_000;
const queueRows = 20_000;
const waitingBegins = 10_000;
/** Lines per second and process for those who proved nothing. */
const strangersPerSecond = 20;
const closeMs = 3_000;
const maxIds = 64;
const maxAction = 64;
const maxAgent = 200;

interface Begin {
  row: AuditRow;
  resolve: (line: string) => void;
  reject: (error: unknown) => void;
}

export class Audit implements AuditWriter {
  readonly #store: Store;
  readonly #log: Log;
  readonly #lost: Counter<"kind">;
  readonly #repeats = new AuditRepeats();
  #begins: Begin[] = [];
  #beginning = false;
  #rows: AuditRow[] = [];
  #ends: AuditEnd[] = [];
  #used = new Map<string, Date>();
  #strangers = { second: 0, lines: 0 };
  readonly #stop = new AbortController();
  readonly #running: Promise<void>;

  constructor(store: Store, log: Log, lost: Counter<"kind">) {
    this.#store = store;
    this.#log = log;
    this.#lost = lost;
    this.#running = this.#run();
  }

  /** Lines that are not written yet. */
  get waiting(): number {
    return this.#rows.length + this.#ends.length;
  }

  async begin(entry: AuditEntry): Promise<void> {
    if (!entry.changes) return;
    if (this.#begins.length >= waitingBegins) {
      throw failure("DatabaseUnavailable", "the log of calls cannot be written fast enough; ask again shortly");
    }
    entry.line = await new Promise<string>((resolve, reject) => {
      this.#begins.push({ row: rowOf(entry, null), resolve, reject });
      if (!this.#beginning) void this.#drain();
    });
  }

  end(entry: AuditEntry, outcome: string): void {
    if (entry.edge === "cvm" && entry.actor !== null) this.#used.set(entry.actor, entry.at);
    const now = Date.now();
    const isKnownRead = !entry.changes && entry.actor !== null;
    if (isKnownRead && this.#repeats.has(entry, outcome, now)) return;
    const row = rowOf(entry, outcome);
    if (entry.line !== undefined) {
      const { resource_ids, duration_ms } = row;
      const end = { id: entry.line, resource_ids, outcome, duration_ms: duration_ms ?? 0 };
      if (this.#ends.length < queueRows) this.#ends.push(end);
      else this.#lost.inc({ kind: "outcome" });
      return;
    }
    if (entry.actor === null && !this.#strangerFits()) return this.#lost.inc({ kind: "stranger" });
    if (this.#rows.length >= queueRows) return this.#lost.inc({ kind: "read" });
    this.#rows.push(row);
    if (isKnownRead) this.#repeats.add(entry, outcome, now);
  }

  /** Writes what waits, for a moment; what cannot be written by then is lost and counted. */
  async close(): Promise<void> {
    this.#stop.abort();
    await this.#running;
  }

  #strangerFits(): boolean {
    const second = Math.floor(Date.now() / 1000);
    if (second !== this.#strangers.second) this.#strangers = { second, lines: 0 };
    return ++this.#strangers.lines <= strangersPerSecond;
  }

  /** One commit at a time; whoever comes meanwhile shares the next. */
  async #drain(): Promise<void> {
    this.#beginning = true;
    while (this.#begins.length > 0) {
      const together = this.#begins.splice(0, batchRows);
      try {
        const lines = await auditInsert(
          this.#store,
          together.map(({ row }) => row),
        );
        together.forEach(({ resolve }, n) => resolve(lines[n] ?? ""));
      } catch (error) {
        for (const { reject } of together) reject(error);
      }
    }
    this.#beginning = false;
  }

  async #run(): Promise<void> {
    let failures = 0;
    while (!this.#stop.signal.aborted) {
      await sleep(failures === 0 ? flushMs : backoff(failures, flushMs, 5_000), this.#stop.signal).catch(
        () => undefined,
      );
      failures = (await this.#flush()) ? 0 : failures + 1;
    }
    const until = performance.now() + closeMs;
    while (this.waiting > 0 && performance.now() < until && (await this.#flush()));
    if (this.waiting > 0) this.#lost.inc({ kind: "closing" }, this.waiting);
  }

  /** True when everything of one batch was written. A batch that may have been written and is written again does no harm but once. */
  async #flush(): Promise<boolean> {
    const rows = this.#rows.slice(0, batchRows);
    const ends = this.#ends.slice(0, batchRows);
    const used = this.#used;
    try {
      if (rows.length > 0) await auditInsert(this.#store, rows);
      this.#rows.splice(0, rows.length);
      if (ends.length > 0) await auditEnd(this.#store, ends);
      this.#ends.splice(0, ends.length);
      if (used.size === 0) return true;
      this.#used = new Map();
      await accessKeysUsed(this.#store, used);
      return true;
    } catch (error) {
      logRetry(this.#log, error, "writing the log of calls failed; it is done again");
      return false;
    }
  }
}

function rowOf(entry: AuditEntry, outcome: string | null): AuditRow {
  return {
    at: entry.at.toISOString(),
    edge: entry.edge,
    action: entry.action.slice(0, maxAction),
    changes: entry.changes,
    account_id: entry.accountId,
    actor: entry.actor,
    resource_ids: [...new Set(entry.resourceIds)].slice(0, maxIds),
    source: entry.source,
    agent: entry.agent?.slice(0, maxAgent) ?? null,
    request_id: entry.requestId,
    outcome,
    duration_ms: outcome === null ? null : Math.max(0, Date.now() - entry.at.getTime()),
  };
}
