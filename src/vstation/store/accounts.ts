/**
 * Accounts. Everything that a tenant has carries its account's id; an account that is deleted stays as a row, because what it had
 * stays as history, but its name is free again and nothing can be made for it: {@link accountsHold} and quotaTake see to that.
 */
import { randomBytes } from "node:crypto";
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import { quotaNames, quotas, type Amounts } from "../../core/quotas.ts";
import { newId, type AccountId } from "../../lib/ids.ts";
import type { Keyring } from "../keyring.ts";
import { accessKeyInsert, sealAnew } from "./access-keys.ts";
import type { Reader, Store, Tx } from "./database.ts";
import { networkForget, networkGiven } from "./network-forget.ts";
import { quotaUsed } from "./quotas.ts";

export const operatorName = "operator";

export interface Bootstrap {
  accountId: AccountId;
  secretId: string;
  secretKey: string;
  operatorToken: string;
}

const defaultAccount = "default";
/** The key that stands in credentials.json; one that was deleted is made anew at the next start. */
const ownKey = "credentials.json";

/** Makes the first account, its API key and the operator's token if they are missing, and returns them. */
export async function accountBootstrap(store: Store, keyring: Keyring): Promise<Bootstrap> {
  return store.transaction(async (tx) => {
    const { db } = tx;
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
    await sealAnew(tx, keyring);
    // Until keys had names there was one.
    await db.updateTable("access_key").set({ name: ownKey }).where("name", "=", "").execute();
    const kept = await db
      .selectFrom("access_key")
      .select(["secret_id", "secret_key"])
      .where("account_id", "=", account.id)
      .where("name", "=", ownKey)
      .orderBy("created_at")
      .executeTakeFirst();
    const own =
      kept === undefined
        ? await accessKeyInsert(tx, keyring, account.id, ownKey).then(({ key, secretKey }) => [key.secretId, secretKey])
        : [kept.secret_id, await keyring.open(kept.secret_key, kept.secret_id)];
    const about = `operator ${operatorName}`;
    await db
      .insertInto("operator_token")
      .values({ name: operatorName, token: keyring.seal(randomBytes(32).toString("base64url"), about) })
      .onConflict((conflict) => conflict.column("name").doNothing())
      .execute();
    const operator = await db
      .selectFrom("operator_token")
      .select("token")
      .where("name", "=", operatorName)
      .executeTakeFirstOrThrow();
    const [secretId = "", secretKey = ""] = own;
    return { accountId: account.id, secretId, secretKey, operatorToken: await keyring.open(operator.token, about) };
  });
}

export interface AccountRead {
  id: AccountId;
  name: string;
  createdAt: Date;
  /** Its own limits, where they are not the defaults. */
  quotas: Amounts;
}

/** What an account can have that would be left behind: sizes come with their things, and API keys go with the account. */
const things = quotaNames.filter((name) => !["vcpus", "memoryGiB", "diskGiB", "accessKeys"].includes(name));

const columns = ["id", "name", "created_at as createdAt", "quotas"] as const;

/** Live accounts, oldest first. */
export async function accountList(
  db: Reader,
  page: { offset: number; limit: number },
): Promise<{ total: number; items: AccountRead[] }> {
  const live = db.selectFrom("account").where("deleted_at", "is", null);
  const items = await live
    .select(columns)
    .orderBy("created_at")
    .orderBy("id")
    .offset(page.offset)
    .limit(page.limit)
    .execute();
  const { total } = await live.select(({ fn }) => fn.countAll<number>().as("total")).executeTakeFirstOrThrow();
  return { total, items };
}

/** A live account by its id or its name. */
export async function accountFind(db: Reader, idOrName: string): Promise<AccountRead | undefined> {
  return db
    .selectFrom("account")
    .select(columns)
    .where((column) => column.or([column("id", "=", idOrName as AccountId), column("name", "=", idOrName)]))
    .where("deleted_at", "is", null)
    .executeTakeFirst();
}

/** Throws a unique violation (account_name_key) when the name is taken. */
export async function accountInsert(tx: Tx, id: AccountId, name: string): Promise<void> {
  await tx.db.insertInto("account").values({ id, name, quotas: {} }).execute();
}

/** Sets limits of its own; null takes one away, so that the default counts again. */
export async function accountSetQuotas(
  tx: Tx,
  id: AccountId,
  change: Readonly<Record<string, number | null>>,
): Promise<void> {
  const row = await accountLock(tx, id);
  const own = Object.fromEntries(Object.entries({ ...row.quotas, ...change }).filter(([, limit]) => limit !== null));
  await tx.db.updateTable("account").set({ quotas: own }).where("id", "=", id).execute();
}

/**
 * Deletes an account that has nothing; its API keys go with it. Whoever makes something for it at this moment either holds its row,
 * and is waited for and then seen here, or finds it deleted.
 */
export async function accountDelete(tx: Tx, id: AccountId): Promise<void> {
  const { name } = await accountLock(tx, id);
  if (name === defaultAccount) throw failure("AccountIsDefault", "the account `default` is VStation's own and stays");
  const used = await quotaUsed(tx.db, id, things);
  const given: Amounts = await networkGiven(tx.db, id);
  const owns = things
    .map((what) => [what, (used[what] ?? 0) - (given[what] ?? 0)] as const)
    .filter(([, count]) => count > 0);
  if (owns.length > 0) {
    const list = owns.map(([what, count]) => `${count} ${quotas[what].words}`).join(", ");
    throw failure("AccountNotEmpty", `the account ${name} still has: ${list}`, {
      detail: { owns: Object.fromEntries(owns) },
    });
  }
  await networkForget(tx, id);
  await tx.db.deleteFrom("access_key").where("account_id", "=", id).execute();
  await tx.db
    .updateTable("account")
    .set({ deleted_at: new Date(), name: `${name} ${id}` })
    .where("id", "=", id)
    .execute();
}

async function accountLock(tx: Tx, id: AccountId): Promise<AccountRead> {
  const row = await tx.db
    .selectFrom("account")
    .select(columns)
    .where("id", "=", id)
    .where("deleted_at", "is", null)
    .forUpdate()
    .executeTakeFirst();
  if (row === undefined) throw failure("AccountNotFound", `there is no account ${id}`);
  return row;
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
