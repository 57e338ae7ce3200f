/**
 * API keys and the operator's token: who presents what, and the secrets that prove it, sealed by the keyring. A key is read for every
 * call, so one that was disabled or deleted is refused by every replica from the commit on.
 */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import type { AccountId } from "../../lib/ids.ts";
import { isSealed, type Keyring } from "../keyring.ts";
import type { Reader, Store, Tx } from "./database.ts";
import { toJson } from "./json.ts";
import { quotaTake } from "./quotas.ts";

export interface AccessKeyRead {
  secretId: string;
  name: string;
  enabled: boolean;
  createdAt: Date;
  lastUsedAt: Date | null;
}

const columns = [
  "secret_id as secretId",
  "name",
  "enabled",
  "created_at as createdAt",
  "last_used_at as lastUsedAt",
] as const;

/** The key of a call, if it is there, enabled, and its account lives; its secret is still sealed. */
export async function accessKeyFind(
  db: Reader,
  secretId: string,
): Promise<{ secretId: string; sealed: string; accountId: AccountId } | undefined> {
  return db
    .selectFrom("access_key")
    .innerJoin("account", "account.id", "access_key.account_id")
    .select(["secret_id as secretId", "secret_key as sealed", "account_id as accountId"])
    .where("secret_id", "=", secretId)
    .where("enabled", "=", true)
    .where("account.deleted_at", "is", null)
    .executeTakeFirst();
}

/** Makes a key of a live account; the secret is returned to be shown once. */
export async function accessKeyInsert(
  tx: Tx,
  keyring: Keyring,
  accountId: AccountId,
  name: string,
): Promise<{ key: AccessKeyRead; secretKey: string }> {
  await quotaTake(tx, accountId, { accessKeys: 1 });
  const secretId = `AKID${randomBytes(16).toString("hex")}`;
  const secretKey = randomBytes(24).toString("base64url");
  const key = await tx.db
    .insertInto("access_key")
    .values({ secret_id: secretId, secret_key: keyring.seal(secretKey, secretId), account_id: accountId, name })
    .returning(columns)
    .executeTakeFirstOrThrow();
  return { key, secretKey };
}

export async function accessKeyList(db: Reader, accountId: AccountId): Promise<AccessKeyRead[]> {
  return db
    .selectFrom("access_key")
    .select(columns)
    .where("account_id", "=", accountId)
    .orderBy("created_at")
    .orderBy("secret_id")
    .execute();
}

export async function accessKeyEnable(
  db: Reader,
  accountId: AccountId,
  secretId: string,
  enabled: boolean,
): Promise<AccessKeyRead> {
  const row = await db
    .updateTable("access_key")
    .set({ enabled })
    .where("account_id", "=", accountId)
    .where("secret_id", "=", secretId)
    .returning(columns)
    .executeTakeFirst();
  if (row === undefined) throw keyNotFound(secretId);
  return row;
}

export async function accessKeyDelete(db: Reader, accountId: AccountId, secretId: string): Promise<void> {
  const { numDeletedRows } = await db
    .deleteFrom("access_key")
    .where("account_id", "=", accountId)
    .where("secret_id", "=", secretId)
    .executeTakeFirst();
  if (numDeletedRows === 0n) throw keyNotFound(secretId);
}

function keyNotFound(secretId: string): Error {
  return failure("AccessKeyNotFound", `the account has no API key ${secretId}`);
}

/** Writes when keys were last used; late and out of order does no harm. */
export async function accessKeysUsed(store: Store, used: ReadonlyMap<string, Date>): Promise<void> {
  const rows = [...used].map(([secret_id, at]) => ({ secret_id, last_used_at: at.toISOString() }));
  await store.read((db) =>
    sql`
      with v as (select * from jsonb_populate_recordset(null::access_key, ${toJson(rows)})),
        locked as (select secret_id from access_key where secret_id in (select secret_id from v) order by 1 for no key update)
      update access_key k set last_used_at = v.last_used_at from v join locked using (secret_id)
      where k.secret_id = v.secret_id and (k.last_used_at is null or k.last_used_at < v.last_used_at)`.execute(db),
  );
}

/** Whether the database holds secrets that only a keyring opens. */
export async function anySealed(store: Store): Promise<boolean> {
  const { rows } = await store.read((db) =>
    sql<{ any: boolean }>`
      select exists (select from access_key where secret_key like 'sealed:%')
        or exists (select from operator_token where token like 'sealed:%') as any`.execute(db),
  );
  return rows[0]?.any ?? false;
}

/** Seals what was stored before there was a keyring, and seals anew what an older key sealed. */
export async function sealAnew(tx: Tx, keyring: Keyring): Promise<void> {
  const old = `${keyring.prefix.replaceAll(/[%_\\]/g, "\\$&")}%`;
  const again = async (text: string, about: string): Promise<string> =>
    keyring.seal(isSealed(text) ? await keyring.open(text, about) : text, about);
  const keys = await tx.db
    .selectFrom("access_key")
    .select(["secret_id", "secret_key"])
    .where("secret_key", "not like", old)
    .orderBy("secret_id")
    .forUpdate()
    .execute();
  for (const { secret_id, secret_key } of keys) {
    await tx.db
      .updateTable("access_key")
      .set({ secret_key: await again(secret_key, secret_id) })
      .where("secret_id", "=", secret_id)
      .execute();
  }
  const tokens = await tx.db
    .selectFrom("operator_token")
    .selectAll()
    .where("token", "not like", old)
    .forUpdate()
    .execute();
  for (const { name, token } of tokens) {
    await tx.db
      .updateTable("operator_token")
      .set({ token: await again(token, `operator ${name}`) })
      .where("name", "=", name)
      .execute();
  }
}
