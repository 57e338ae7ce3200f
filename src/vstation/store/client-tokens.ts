/** What was answered to a client token: the same token and request get the same answer, another request with it is refused. */
import { createHash } from "node:crypto";
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import type { AccountId } from "../../lib/ids.ts";
import type { Reader, Store } from "./database.ts";

/** Requests are equal when their canonical JSON is; the client token itself is no part of it. */
export function requestHash(request: unknown): string {
  return createHash("sha256")
    .update(JSON.stringify(canonical(request)))
    .digest("hex");
}

function canonical(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(canonical);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, canonical(inner)]),
  );
}

/** The earlier answer; undefined if the token is new. Throws ClientTokenMismatch for another request. */
export async function clientTokenFind(
  db: Reader,
  accountId: AccountId,
  action: string,
  token: string,
  hash: string,
): Promise<unknown> {
  const row = await db
    .selectFrom("client_token")
    .select(["request_hash", "answer"])
    .where("account_id", "=", accountId)
    .where("action", "=", action)
    .where("token", "=", token)
    .executeTakeFirst();
  if (row === undefined) return undefined;
  if (row.request_hash !== hash) throw clientTokenMismatch();
  return row.answer;
}

export function clientTokenMismatch(): Error {
  return failure("ClientTokenMismatch", "this client token was used before with another request; use a fresh one");
}

/** Deletes answers older than so many days: whoever asks again after that asks anew. */
export async function clientTokensForget(store: Store, days: number): Promise<void> {
  await store.read((db) =>
    sql`delete from client_token where created_at < now() - make_interval(days => ${days})`.execute(db),
  );
}
