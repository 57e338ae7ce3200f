/** Accounts, their API keys and quotas. A secret is made here only to be handed out once; it is stored sealed and never logged. */
import { failure } from "../../core/failure-codes.ts";
import { limitsOf, quotaNames } from "../../core/quotas.ts";
import { newId } from "../../lib/ids.ts";
import type { AccountView, Accounts } from "../cloud-tenancy.ts";
import { accessKeyDelete, accessKeyEnable, accessKeyInsert, accessKeyList } from "../store/access-keys.ts";
import {
  accountDelete,
  accountFind,
  accountInsert,
  accountList,
  accountSetQuotas,
  type AccountRead,
} from "../store/accounts.ts";
import { violatedConstraint, type Reader } from "../store/database.ts";
import { quotaUsed } from "../store/quotas.ts";
import type { AppContext } from "./context.ts";

export function accounts({ store, keyring }: Pick<AppContext, "store" | "keyring">): Accounts {
  const find = async (db: Reader, idOrName: string): Promise<AccountRead> => {
    const found = await accountFind(db, idOrName);
    if (found === undefined) throw failure("AccountNotFound", `there is no account ${idOrName}`);
    return found;
  };
  const get: Accounts["get"] = (idOrName) => store.read(async (db) => viewOf(db, await find(db, idOrName)));
  return {
    get,
    idOf: (idOrName) => store.read(async (db) => (await find(db, idOrName)).id),
    list: (page) =>
      store.read(async (db) => {
        const { total, items } = await accountList(db, page);
        return { total, items: await Promise.all(items.map((one) => viewOf(db, one))) };
      }),
    async create(name) {
      const id = newId("account");
      try {
        await store.transaction((tx) => accountInsert(tx, id, name));
      } catch (error) {
        if (violatedConstraint(error) !== "account_name_key") throw error;
        throw failure("AccountNameTaken", `there is an account named ${name} already`, { cause: error });
      }
      return get(id);
    },
    async setQuotas(id, change) {
      await store.transaction((tx) => accountSetQuotas(tx, id, change));
      return get(id);
    },
    delete: (id) => store.transaction((tx) => accountDelete(tx, id)),
    keys: (id) => store.read(async (db) => accessKeyList(db, (await find(db, id)).id)),
    keyCreate: (id, name) => store.transaction((tx) => accessKeyInsert(tx, keyring, id, name)),
    keySetEnabled: (id, secretId, enabled) => store.read((db) => accessKeyEnable(db, id, secretId, enabled)),
    keyDelete: (id, secretId) => store.read((db) => accessKeyDelete(db, id, secretId)),
  };
}

async function viewOf(db: Reader, { id, name, createdAt, quotas }: AccountRead): Promise<AccountView> {
  const own = quotaNames.filter((quota) => quotas[quota] !== undefined);
  return { id, name, createdAt, limits: limitsOf(quotas), own, used: await quotaUsed(db, id) };
}
