/** The account and the secrets that clients present; made once, kept for ever after. */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import { newId, type AccountId } from "../../lib/ids.ts";
import type { Reader, Store, Tx } from "./database.ts";

export interface Bootstrap {
  accountId: AccountId;
  secretId: string;
  secretKey: string;
  operatorToken: string;
}

const defaultAccount = "default";

/** Makes the first account, its API key and the operator's token if they are missing, and returns them. */
export async function accountBootstrap(store: Store): Promise<Bootstrap> {
  return store.transaction(async ({ db }) => {
    await db
      .insertInto("account")
      .values({ id: newId("account"), name: defaultAccount, quotas: {} })
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    const account = await db
      .selectFrom("account")
      .select("id")
      .where("name", "=", defaultAccount)
      .forUpdate()
      .executeTakeFirstOrThrow();
    let key = await db.selectFrom("access_key").selectAll().where("account_id", "=", account.id).executeTakeFirst();
    key ??= await db
      .insertInto("access_key")
      .values({
        secret_id: `AKID${randomBytes(16).toString("hex")}`,
        secret_key: randomBytes(24).toString("base64url"),
        account_id: account.id,
      })
      .returningAll()
      .executeTakeFirstOrThrow();
    await db
      .insertInto("operator_token")
      .values({ name: "operator", token: randomBytes(32).toString("base64url") })
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    const operator = await db.selectFrom("operator_token").select("token").executeTakeFirstOrThrow();
    return {
      accountId: account.id,
      secretId: key.secret_id,
      secretKey: key.secret_key,
      operatorToken: operator.token,
    };
  });
}

export interface AccessKeyRow {
  secretId: string;
  secretKey: string;
  accountId: AccountId;
}

export async function accessKeyFind(db: Reader, secretId: string): Promise<AccessKeyRow | undefined> {
  const row = await db.selectFrom("access_key").selectAll().where("secret_id", "=", secretId).executeTakeFirst();
  return row && { secretId: row.secret_id, secretKey: row.secret_key, accountId: row.account_id };
}

/**
 * Makes sure that none of these accounts is deleted before this transaction is over. Throws AccountNotFound: a foreign key does not
 * help, because the row of a deleted account stays.
 */
export async function accountsHold(tx: Tx, ids: Iterable<AccountId>): Promise<void> {
  const wanted = [...new Set(ids)];
  const { rows } = await sql<{ held: number }>`
    with held as (
      select id from account where id = any(${wanted}) and deleted_at is null order by id for key share)
    select count(*) as held from held`.execute(tx.db);
  if (rows[0]?.held !== wanted.length) throw failure("AccountNotFound", "the account was deleted");
}
