/**
 * Join tokens: known only by their hash, valid once and for a time. "Once" means one key pair: a host whose answer was lost asks
 * again with the same request and gets the same host, anybody else with the same token gets nothing.
 */
import { sql } from "kysely";
import { newId, type HostId } from "../../lib/ids.ts";
import type { JoinFailureCode } from "../../core/failure-codes.ts";
import type { Reader, Store, Tx } from "./database.ts";

export async function joinTokenEnsure(
  store: Store,
  hash: string,
  name: string,
  lifetimeSeconds: number,
): Promise<void> {
  await store.read((db) =>
    db
      .insertInto("join_token")
      .values({ hash, name, expires_at: new Date(Date.now() + lifetimeSeconds * 1000) })
      .onConflict((conflict) => conflict.column("hash").doNothing())
      .execute(),
  );
}

/** May whoever shows it have the programs of a host? As long as it has not expired, used or not: a machine may begin again. */
export async function joinTokenValid(db: Reader, hash: string): Promise<boolean> {
  const { rows } = await sql`
    select 1 from join_token where hash = ${hash} and expires_at > clock_timestamp()`.execute(db);
  return rows.length > 0;
}

export interface JoinUse {
  hash: string;
  name: string;
  zone: string;
  /** SHA-256 of the public key that asks. */
  keyHash: string;
  /** Names this joining in the host's certificates. */
  joining: string;
}

/**
 * Uses a token up for this key; a host of this name that joined before keeps its id and gets a new certificate. A token that
 * was used says no more once the host was taken out, or has joined by another since: whoever still has it does not come back by it, nor
 * takes the name from the machine that has it now.
 */
export async function joinTokenUse(tx: Tx, use: JoinUse): Promise<{ hostId: HostId } | { refused: JoinFailureCode }> {
  const token = await tx.db
    .selectFrom("join_token")
    .selectAll()
    .select([
      sql<boolean>`exists (select from host where id = join_token.host_id and removed_at is not null)`.as("removed"),
      sql<boolean>`exists (select from join_token other
        where other.host_id = join_token.host_id and other.used_at > join_token.used_at)`.as("followed"),
    ])
    .where("hash", "=", use.hash)
    .forUpdate()
    .executeTakeFirst();
  if (token === undefined) return { refused: "JoinTokenUnknown" };
  if (token.used_by_key !== null && token.used_by_key !== use.keyHash) return { refused: "JoinTokenUsed" };
  if (token.expires_at.getTime() < Date.now()) return { refused: "JoinTokenExpired" };
  if (token.name !== use.name) return { refused: "JoinNameMismatch" };
  if (token.removed) return { refused: "HostRemoved" };
  if (token.followed) return { refused: "JoinTokenUsed" };
  const host = await tx.db
    .insertInto("host")
    .values({ id: newId("host"), zone: use.zone, name: use.name, certificate_serial: use.joining })
    .onConflict((conflict) =>
      conflict.columns(["zone", "name"]).doUpdateSet({ certificate_serial: use.joining, removed_at: null }),
    )
    .returning("id")
    .executeTakeFirstOrThrow();
  await tx.db
    .updateTable("join_token")
    .set({ used_at: new Date(), used_by_key: use.keyHash, host_id: host.id })
    .where("hash", "=", use.hash)
    .execute();
  // Whoever asks for room knows from now on that this host is about to dial in.
  tx.wake.capacity = true;
  tx.wake.event("host", host.id);
  return { hostId: host.id };
}
