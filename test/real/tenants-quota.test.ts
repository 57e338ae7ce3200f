/** Quotas under a real PostgreSQL: two requests of one account cannot both take the last place. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isFailure } from "../../src/lib/errors.ts";
import { newId, type AccountId } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import { accountsHold } from "../../src/vstation/store/accounts.ts";
import { Store } from "../../src/vstation/store/database.ts";
import { keyInsert } from "../../src/vstation/store/keys.ts";
import { migrate } from "../../src/vstation/store/migrate.ts";
import { quotaLimits, quotaTake, quotaUsed } from "../../src/vstation/store/quotas.ts";
import { TestPostgres } from "./support/postgres.ts";

const postgres = new TestPostgres();
const log = createLog("test");
let database: string;
let store: Store;

beforeAll(async () => {
  await postgres.start();
  database = await postgres.database();
  store = new Store({ database, replica: "one", log });
  await migrate(store, log);
});
afterAll(async () => {
  await store.close();
  await postgres.close();
});

async function account(quotas: object): Promise<AccountId> {
  const id = newId("account");
  await postgres.query(database, "insert into account (id, name, quotas) values ($1, $1, $2)", [id, quotas]);
  return id;
}

function takeKey(accountId: AccountId, name: string): Promise<unknown> {
  return store.transaction(async (tx) => {
    await quotaTake(tx, accountId, { keys: 1 });
    await keyInsert(tx, { id: newId("key"), accountId, name, publicKey: "x" });
  });
}

describe("a quota", () => {
  it("is kept however many ask at once, and is its account's own", async () => {
    const [small, large] = [await account({ keys: 3 }), await account({})];
    const outcomes = await Promise.allSettled([
      ...Array.from({ length: 12 }, (_, n) => takeKey(small, `k${n}`)),
      ...Array.from({ length: 12 }, (_, n) => takeKey(large, `k${n}`)),
    ]);
    const refused = outcomes.flatMap((outcome) => (outcome.status === "rejected" ? [outcome.reason as unknown] : []));
    expect(refused).toHaveLength(9);
    expect(refused.every((error) => isFailure(error, "limit") && error.detail["quota"] === "keys")).toBe(true);
    expect(await store.read((db) => quotaUsed(db, small))).toMatchObject({ keys: 3, groups: 0, instances: 0 });
    expect(await store.read((db) => quotaUsed(db, large, ["keys"]))).toEqual({ keys: 12 });
  });

  it("that was lowered below what there is refuses more and takes nothing away", async () => {
    const one = await account({});
    await takeKey(one, "a");
    await postgres.query(database, "update account set quotas = '{\"keys\": 0}' where id = $1", [one]);
    await expect(takeKey(one, "b")).rejects.toMatchObject({ code: "QuotaExceeded", detail: { limit: 0, used: 1 } });
    expect(await store.read((db) => quotaUsed(db, one, ["keys"]))).toEqual({ keys: 1 });
  });

  it("of an account that is gone gives nothing, also to what was on its way", async () => {
    const one = await account({});
    await postgres.query(database, "update account set deleted_at = now() where id = $1", [one]);
    await expect(takeKey(one, "a")).rejects.toMatchObject({ code: "AccountNotFound" });
    await expect(store.transaction((tx) => accountsHold(tx, [one]))).rejects.toMatchObject({ code: "AccountNotFound" });
    expect(await store.read((db) => quotaLimits(db, one))).toBeUndefined();
  });
});
