/**
 * The one way to PostgreSQL: a pool, typed queries, and transactions that also carry what must be told when they commit.
 *
 * PostgreSQL may go away at any moment (killed, failed over, restarted for an upgrade) and come back without this process being
 * told. So nothing here holds a connection across requests, every statement has a deadline, and a lost connection becomes a
 * `DatabaseUnavailable` failure that callers answer or retry. The one thing that cannot be known is whether a COMMIT whose
 * answer was lost took place: {@link isCommitUnknown} marks it, and whoever keeps a projection in memory reads it anew.
 *
 * Changes are told twice: to this process directly after the commit (no round trip), and by NOTIFY inside the transaction to
 * the other replicas. A nudge carries no state and may be lost; see listener.ts.
 */
import { Kysely, PostgresDialect, sql, type Transaction } from "kysely";
import pg from "pg";
import { crashPoint } from "../../lib/crash-point.ts";
import { failure } from "../../core/failure-codes.ts";
import { Failure, formatError } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Tables } from "./schema.ts";
import { notifyStatements, Wake } from "./wake.ts";
import { toJson } from "./json.ts";

/** Read access: a transaction or the pool. */
export type Reader = Kysely<Tables>;

/** An open transaction, with what its commit will announce. */
export interface Tx {
  readonly db: Transaction<Tables>;
  readonly replica: string;
  /** Hosts whose wanted changed, instances to reconcile, and what followers of the event stream should read again. */
  readonly wake: Wake;
}

export interface StoreOptions {
  database: string;
  /** Names this process to the other replicas; they ignore their own notifications. */
  replica: string;
  log: Log;
  poolSize?: number;
}

const statementMs = 15_000;
const attempts = 4;

export class Store {
  readonly db: Kysely<Tables>;
  readonly replica: string;
  readonly #pool: pg.Pool;
  readonly #listeners = new Set<(wake: Wake) => void>();

  constructor(options: StoreOptions) {
    this.replica = options.replica;
    this.#pool = new pg.Pool({
      ...connectionOptions(options.database),
      max: options.poolSize ?? 16,
      idleTimeoutMillis: 60_000,
      statement_timeout: statementMs,
      query_timeout: statementMs + 5_000,
      idle_in_transaction_session_timeout: 30_000,
    });
    // A connection that dies also emits an event, and an event without a listener would end the process: on the pool while
    // it is idle, on the client while it is in use. Whoever uses it hears of it by the query that fails.
    const lost = (error: Error): void =>
      options.log.debug({ chain: formatError(error) }, "a database connection was lost");
    this.#pool.on("error", lost);
    this.#pool.on("connect", (client) => client.on("error", lost));
    this.db = new Kysely<Tables>({ dialect: new PostgresDialect({ pool: this.#pool }) });
  }

  /** Hears of every commit of this process at once; other processes' commits come through the listener. */
  onCommit(listener: (wake: Wake) => void): void {
    this.#listeners.add(listener);
  }

  /** Runs a query outside a transaction, with failures translated. */
  async read<T>(query: (db: Reader) => Promise<T>): Promise<T> {
    try {
      return await query(this.db);
    } catch (error) {
      throw translate(error);
    }
  }

  /** Runs queries whose answers must agree with each other: all of them see the same moment. */
  async snapshot<T>(queries: (db: Reader) => Promise<T>): Promise<T> {
    return this.read((db) =>
      db.transaction().setIsolationLevel("repeatable read").setAccessMode("read only").execute(queries),
    );
  }

  /**
   * One transaction; run anew when PostgreSQL chose it as the victim of a deadlock, so `body` must have no effect outside it.
   * Throws `DatabaseUnavailable` when PostgreSQL is away, and whatever `body` throws after rolling back.
   */
  async transaction<T>(body: (tx: Tx) => Promise<T>): Promise<T> {
    for (let attempt = 1; ; attempt++) {
      const wake = new Wake();
      try {
        const result = await this.#once(body, wake);
        for (const listener of this.#listeners) listener(wake);
        return result;
      } catch (error) {
        if (attempt < attempts && isRetryable(error)) continue;
        throw translate(error);
      }
    }
  }

  async #once<T>(body: (tx: Tx) => Promise<T>, wake: Wake): Promise<T> {
    let bodyDone = false;
    try {
      return await this.db.transaction().execute(async (db) => {
        const result = await body({ db, wake, replica: this.replica });
        for (const statement of notifyStatements(wake, this.replica)) await statement.execute(db);
        bodyDone = true;
        crashPoint("store.transaction.before-commit");
        return result;
      });
    } catch (error) {
      if (bodyDone) throw new CommitUnknown(error);
      throw error;
    }
  }

  async close(): Promise<void> {
    await this.db.destroy();
  }
}

/** The answer to a COMMIT was lost: it may or may not have taken place. */
class CommitUnknown extends Error {
  constructor(cause: unknown) {
    super("the outcome of a commit is unknown", { cause });
    this.name = "CommitUnknown";
  }
}

/** True when the failed transaction may nevertheless have been committed. */
export function isCommitUnknown(error: unknown): boolean {
  if (error instanceof CommitUnknown) return true;
  return error instanceof Error && error.cause !== undefined && isCommitUnknown(error.cause);
}

export function connectionOptions(database: string): pg.ClientConfig {
  return {
    connectionString: database,
    connectionTimeoutMillis: 5_000,
    keepAlive: true,
    application_name: "vstation",
    types: { getTypeParser: typeParser as typeof pg.types.getTypeParser },
  };
}

const int8 = 20;
const getTypeParser = pg.types.getTypeParser.bind(pg.types) as (oid: number, format?: "text" | "binary") => unknown;

/** Counters and sums are far below 2^53; the one true 64-bit number (the event id) is read as text. */
function typeParser(oid: number, format?: "text" | "binary"): (text: string) => unknown {
  if (oid === int8 && format !== "binary") return Number;
  return getTypeParser(oid, format) as (text: string) => unknown;
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error && "code" in error ? error.code : undefined;
  return typeof code === "string" ? code : undefined;
}

function isRetryable(error: unknown): boolean {
  const code = codeOf(error);
  return code === "40P01" || code === "40001";
}

/** Constraint that an insert or delete ran into, if that is what happened. */
export function violatedConstraint(error: unknown): string | undefined {
  if (!(error instanceof Error)) return undefined;
  if (error instanceof pg.DatabaseError && error.code?.startsWith("23") === true) return error.constraint;
  return error.cause === undefined ? undefined : violatedConstraint(error.cause);
}

const awayCodes = new Set(["ECONNREFUSED", "ECONNRESET", "ENOENT", "EPIPE", "ETIMEDOUT", "EHOSTUNREACH", "EAI_AGAIN"]);
/** "character not in repertoire", "untranslatable character". */
const untakeableText = new Set(["22021", "22P05"]);
// node-postgres gives these no code; the exact texts are pinned by a test against a real server that is killed.
const awayTexts =
  /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error|Query read timeout|Cannot use a pool after calling end|driver has already been destroyed)/;

/** True when PostgreSQL is not reachable now; trying again later is right. */
export function isAway(error: unknown): boolean {
  const code = codeOf(error);
  if (code !== undefined && (awayCodes.has(code) || /^(08|57P|53300)/.test(code))) return true;
  if (!(error instanceof Error)) return false;
  return awayTexts.test(error.message) || (error.cause !== undefined && isAway(error.cause));
}

/**
 * Logs that background work failed and will be done again: once per outage is enough for a database that is away (the listener
 * says that, see listener.ts), anything else is a warning each time.
 */
export function logRetry(log: Log, error: unknown, message: string): void {
  log[isAway(error) ? "debug" : "warn"]({ chain: formatError(error) }, message);
}

function translate(error: unknown): unknown {
  if (error instanceof Failure) return error;
  if (isAway(error)) {
    return failure("DatabaseUnavailable", "the database is out of reach; ask again shortly", { cause: error });
  }
  if (untakeableText.has(codeOf(error) ?? "")) {
    return failure("InvalidParameter", "a text holds a character that cannot be stored", { cause: error });
  }
  return error;
}

/** Bumps the wanted generation of some hosts, in an order that all transactions share; returns each host's new one. */
export async function hostGenerationBump(tx: Tx, hosts: Iterable<HostId>): Promise<Map<HostId, number>> {
  const ids = [...new Set(hosts)].toSorted();
  if (ids.length === 0) return new Map();
  const rows = await sql<{ id: HostId; wanted_generation: number }>`
    with locked as (select id from host where id = any(${ids}) and removed_at is null order by id for no key update)
    update host set wanted_generation = wanted_generation + 1 from locked where host.id = locked.id
    returning host.id, host.wanted_generation`.execute(tx.db);
  // Taken out since it was chosen: whoever placed there knows hosts that are no more.
  if (rows.rows.length < ids.length) throw failure("PlacementUnavailable", "a host was removed meanwhile; ask again");
  for (const id of ids) tx.wake.host(id);
  return new Map(rows.rows.map((row) => [row.id, row.wanted_generation]));
}

/** Inserts many rows in one round trip with one parameter; columns are those of the first row. */
export async function insertMany(tx: Tx, table: keyof Tables, rows: readonly Record<string, unknown>[]): Promise<void> {
  const first = rows[0];
  if (first === undefined) return;
  const columns = sql.join(Object.keys(first).map((column) => sql.ref(column)));
  await sql`
    insert into ${sql.table(table)} (${columns})
    select ${columns} from jsonb_populate_recordset(null::${sql.table(table)}, ${toJson(rows)})`.execute(tx.db);
}
