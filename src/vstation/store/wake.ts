/** What a commit announces: who should look again. Collected in the transaction, told after it; see database.ts and listener.ts. */
import { sql, type RawBuilder } from "kysely";
import type { HostId, InstanceId } from "../../lib/ids.ts";

export const channel = "vstation";

export type EventSubject = "instance" | "operation" | "host" | "disk" | "snapshot" | "migration";

export class Wake {
  /** Hosts whose wanted or session changed. */
  readonly hosts = new Set<HostId>();
  /** Instances whose reconciler should run. */
  readonly instances = new Set<InstanceId>();
  readonly events = new Map<string, EventSubject>();
  /** Addresses moved: every host's peers changed. */
  peers = false;
  /** Host capacity or readiness changed: placement should read the hosts again. */
  capacity = false;
  /** Something that the storage reconciler waits for: a job, a disk in a machine, new work. */
  storage = false;
  /** Something that the reconciler of migrations waits for: a half's word, a host that came or went, a new one. */
  migrations = false;

  host(id: HostId): void {
    this.hosts.add(id);
  }
  instance(id: InstanceId): void {
    this.instances.add(id);
  }
  event(subject: EventSubject, id: string): void {
    this.events.set(id, subject);
  }
}

/** Payloads stay below PostgreSQL's 8000 bytes. */
const idsPerPayload = 400;

/**
 * The statements that end a transaction: its events as rows (their ids only grow), and the nudges to other replicas.
 * They come last so that a transaction holds its place in the event sequence only for the time of its commit.
 */
export function notifyStatements(wake: Wake, replica: string): RawBuilder<unknown>[] {
  const payloads: string[] = [];
  const flags = `${wake.peers ? "p" : ""}${wake.capacity ? "c" : ""}${wake.events.size > 0 ? "e" : ""}${wake.storage ? "s" : ""}${wake.migrations ? "m" : ""}`;
  if (flags !== "") payloads.push(`${replica} ${flags}`);
  for (const [kind, ids] of [
    ["h", [...wake.hosts]],
    ["i", [...wake.instances]],
  ] as const) {
    for (let at = 0; at < ids.length; at += idsPerPayload) {
      payloads.push(`${replica} ${kind} ${ids.slice(at, at + idsPerPayload).join(" ")}`);
    }
  }
  if (payloads.length === 0) return [];
  if (wake.events.size === 0)
    return [sql`select pg_notify(${channel}, payload) from unnest(${payloads}::text[]) payload`];
  const subjects = [...wake.events.values()];
  const ids = [...wake.events.keys()];
  return [
    sql`
      with told as (
        insert into event (subject, subject_id)
        select * from unnest(${subjects}::text[], ${ids}::text[]) returning id)
      select pg_notify(${channel}, payload) from unnest(${payloads}::text[]) payload
      where (select count(*) from told) >= 0`,
  ];
}

/** Reads a notification of another replica into a wake; undefined for our own, or for one of a newer release. */
export function parsePayload(payload: string, replica: string): Wake | undefined {
  const [from, kind, ...ids] = payload.split(" ");
  if (from === replica || kind === undefined) return undefined;
  const wake = new Wake();
  if (kind === "h") for (const id of ids) wake.host(id as HostId);
  else if (kind === "i") for (const id of ids) wake.instance(id as InstanceId);
  else {
    wake.peers = kind.includes("p");
    wake.capacity = kind.includes("c");
    wake.storage = kind.includes("s");
    wake.migrations = kind.includes("m");
    if (kind.includes("e")) wake.event("host", "");
  }
  return wake;
}
