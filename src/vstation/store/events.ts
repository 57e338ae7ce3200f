/**
 * The event stream's rows. Their ids come from a sequence, so they grow, but they become visible in the order of commits: 99 may
 * appear after 100. A reader that remembers only the last id would lose it, so the reader (app/event-tail.ts) holds back at a
 * gap until the transactions of that time are over; what it needs for that is read here.
 */
import { sql } from "kysely";
import type { Reader, Store } from "./database.ts";
import type { EventSubject } from "./wake.ts";

export interface EventRead {
  id: bigint;
  at: Date;
  subject: EventSubject;
  subjectId: string;
}

export interface EventWindow {
  events: EventRead[];
  /** Transactions from here on were not begun, and those before `oldestOpen` are over, when this was read. */
  nextTransaction: bigint;
  oldestOpen: bigint;
}

export async function eventsAfter(db: Reader, after: bigint, limit: number): Promise<EventWindow> {
  const { rows } = await sql<{
    id: string | null;
    at: Date;
    subject: EventSubject;
    subject_id: string;
    xmin: string;
    xmax: string;
  }>`
    select e.id::text, e.at, e.subject, e.subject_id,
      pg_snapshot_xmin(s)::text as xmin, pg_snapshot_xmax(s)::text as xmax
    from (select pg_current_snapshot() as s) snapshot
    left join lateral (
      select * from event where id > ${after.toString()}::bigint order by id limit ${limit}) e on true
    order by e.id`.execute(db);
  const first = rows[0];
  return {
    events: rows.flatMap(({ id, at, subject, subject_id: subjectId }) =>
      id === null ? [] : [{ id: BigInt(id), at, subject, subjectId }],
    ),
    nextTransaction: BigInt(first?.xmax ?? "0"),
    oldestOpen: BigInt(first?.xmin ?? "0"),
  };
}

/** The id of the newest visible event; 0 if there is none. */
export async function eventLast(db: Reader): Promise<bigint> {
  const { rows } = await sql<{ id: string | null }>`select max(id)::text as id from event`.execute(db);
  return BigInt(rows[0]?.id ?? "0");
}

/** Events that nobody will resume from any more. */
export async function eventsForget(store: Store, keepDays: number): Promise<void> {
  await store.read((db) =>
    sql`delete from event where at < clock_timestamp() - make_interval(days => ${keepDays})`.execute(db),
  );
}
