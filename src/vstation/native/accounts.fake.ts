/** Accounts in memory, for tests of the wire and of what the CLI prints; see cloud.fake.ts. */
import { failure } from "../../core/failure-codes.ts";
import { limitsOf } from "../../core/quotas.ts";
import { newId, type AccountId } from "../../lib/ids.ts";
import type { AccessKeyView, AccountView, Accounts } from "../cloud-tenancy.ts";

const start = new Date("2026-01-02T03:04:05.000Z");

/** `act` is how the cloud in memory notes a call and fails it when told to. */
export function fakeAccounts(
  own: AccountId,
  act: <T>(call: string, args: unknown[], work: () => T) => Promise<T>,
): Accounts {
  const all: AccountView[] = [{ id: own, name: "default", createdAt: start, limits: limitsOf({}), own: [], used: {} }];
  const keys = new Map<AccountId, AccessKeyView[]>();
  let made = 0;
  const find = (idOrName: string): AccountView => {
    const found = all.find(({ id, name }) => id === idOrName || name === idOrName);
    if (found === undefined) throw failure("AccountNotFound", `there is no account ${idOrName}`);
    return found;
  };
  const findKey = (id: AccountId, secretId: string): AccessKeyView => {
    const found = keys.get(id)?.find((key) => key.secretId === secretId);
    if (found === undefined) throw failure("AccessKeyNotFound", `the account has no API key ${secretId}`);
    return found;
  };
  return {
    list: (page) =>
      act("accounts.list", [page], () => ({
        total: all.length,
        items: all.slice(page.offset, page.offset + page.limit),
      })),
    get: (idOrName) => act("accounts.get", [idOrName], () => find(idOrName)),
    idOf: (idOrName) => act("accounts.idOf", [idOrName], () => find(idOrName).id),
    create: (name) =>
      act("accounts.create", [name], () => {
        const account = { id: newId("account"), name, createdAt: start, limits: limitsOf({}), own: [], used: {} };
        all.push(account);
        return account;
      }),
    setQuotas: (id, change) =>
      act("accounts.setQuotas", [id, change], () => {
        const account = find(id);
        const set = Object.entries(change).filter(([, limit]) => limit !== null);
        account.limits = limitsOf(Object.fromEntries(set));
        account.own = set.map(([name]) => name as AccountView["own"][number]);
        return account;
      }),
    delete: (id) => act("accounts.delete", [id], () => void all.splice(all.indexOf(find(id)), 1)),
    keys: (id) => act("accounts.keys", [id], () => keys.get(find(id).id) ?? []),
    keyCreate: (id, name) =>
      act("accounts.keyCreate", [id, name], () => {
        const secretId = `AKID${(++made).toString(16).padStart(32, "0")}`;
        const key = { secretId, name, enabled: true, createdAt: start, lastUsedAt: null };
        keys.set(id, [...(keys.get(id) ?? []), key]);
        return { key, secretKey: "a-secret-of-a-test" };
      }),
    keySetEnabled: (id, secretId, enabled) =>
      act("accounts.keySetEnabled", [id, secretId, enabled], () => Object.assign(findKey(id, secretId), { enabled })),
    keyDelete: (id, secretId) =>
      act("accounts.keyDelete", [id, secretId], () => {
        const key = findKey(id, secretId);
        keys.set(
          id,
          (keys.get(id) ?? []).filter((one) => one !== key),
        );
      }),
  };
}
