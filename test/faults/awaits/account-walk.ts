/** A walk through accounts and their API keys, and the log of calls that tells of it. */
import type { LabSession } from "../../../bench/lab-session.ts";
import type { AccountId } from "../../../src/lib/ids.ts";
import { expectThat } from "../../until.ts";
import { ask, insist } from "../requests.ts";

export async function accountLife(lab: LabSession, name: string): Promise<void> {
  const { native } = lab.cloud;
  const find = async () => {
    const { accounts } = await insist(() => native.call("accountList", {}));
    return accounts.find((account) => account.name === name)?.id;
  };
  await ask(() => native.call("accountCreate", { request: { name } }));
  const id = await find();
  if (id === undefined) throw new Error(`the account ${name} was made and is not there`);
  const quotas = { keys: 7 };
  const { quotas: shown } = await insist(() =>
    native.call("accountSetQuotas", { params: { id }, request: { quotas } }),
  );
  expectThat(shown.find((quota) => quota.name === "keys")?.limit === 7, "the quota is not what was set");
  await insist(() => native.call("accountGet", { params: { id } }));
  const { total } = await insist(() => native.forAccount(name).call("instanceList", {}));
  expectThat(total === 0, "a new account has instances");
  await insist(() => native.call("accessKeyCreate", { params: { id }, request: {} }));
  for (const secretId of await secretIds(lab, id)) {
    const params = { id, secretId };
    await insist(() => native.call("accessKeySet", { params, request: { enabled: false } }));
    await ask(() => native.call("accessKeyDelete", { params }));
  }
  expectThat((await secretIds(lab, id)).length === 0, "a key that was deleted is there");
  await ask(() => native.call("accountDelete", { params: { id } }));
  expectThat((await find()) === undefined, "an account that was deleted is there");
  const { records } = await insist(() =>
    native.call("auditList", { query: { resourceId: id, action: ["accountDelete"] } }),
  );
  expectThat(records.length > 0, "a change is not in the log of calls");
}

async function secretIds(lab: LabSession, id: AccountId): Promise<string[]> {
  const { keys } = await insist(() => lab.cloud.native.call("accessKeyList", { params: { id } }));
  return keys.map(({ secretId }) => secretId);
}
