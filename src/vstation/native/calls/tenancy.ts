/** Accounts, API keys, and the log of calls. */
import type { AccessKeyWire, AccountWire, AuditWire } from "../../../api/native/tenancy.ts";
import { quotaNames } from "../../../core/quotas.ts";
import type { AccessKeyView, AccountView, AuditView } from "../../cloud-tenancy.ts";
import { defined, type Calls } from "../call.ts";

export const tenancyCalls: Calls<
  | "accountList"
  | "accountCreate"
  | "accountGet"
  | "accountSetQuotas"
  | "accountDelete"
  | "accessKeyList"
  | "accessKeyCreate"
  | "accessKeySet"
  | "accessKeyDelete"
  | "auditList"
> = {
  async accountList({ cloud }, { query }) {
    const { total, items } = await cloud.accounts.list(query);
    return { total, accounts: items.map(accountAnswer) };
  },

  async accountCreate({ cloud }, { request }) {
    return accountAnswer(await cloud.accounts.create(request.name));
  },

  async accountGet({ cloud }, { params }) {
    return accountAnswer(await cloud.accounts.get(params.id));
  },

  async accountSetQuotas({ cloud }, { params, request }) {
    return accountAnswer(await cloud.accounts.setQuotas(params.id, defined(request.quotas)));
  },

  async accountDelete({ cloud }, { params }) {
    await cloud.accounts.delete(params.id);
    return {};
  },

  async accessKeyList({ cloud }, { params }) {
    const keys = await cloud.accounts.keys(params.id);
    return { total: keys.length, keys: keys.map(keyAnswer) };
  },

  async accessKeyCreate({ cloud }, { params, request }) {
    const { key, secretKey } = await cloud.accounts.keyCreate(params.id, request.name);
    return { key: keyAnswer(key), secretKey };
  },

  async accessKeySet({ cloud }, { params, request }) {
    return keyAnswer(await cloud.accounts.keySetEnabled(params.id, params.secretId, request.enabled));
  },

  async accessKeyDelete({ cloud }, { params }) {
    await cloud.accounts.keyDelete(params.id, params.secretId);
    return {};
  },

  async auditList({ cloud }, { query, operator }) {
    const { limit, action, changes, failed, since, until, after, before, ...equal } = query;
    const { total, items } = await cloud.audit.list(
      defined({
        ...equal,
        // Acting for one account, its calls are what there is to see.
        accountId: operator.accountId === "any" ? equal.accountId : operator.accountId,
        actions: action,
        changes: changes === undefined ? undefined : changes === "true",
        failed: failed === undefined ? undefined : failed === "true",
        since: since === undefined ? undefined : new Date(since),
        until: until === undefined ? undefined : new Date(until),
        after: after === undefined ? undefined : BigInt(after),
        before: before === undefined ? undefined : BigInt(before),
      }),
      limit,
    );
    return { total, records: items.map(auditAnswer) };
  },
};

function accountAnswer({ id, name, createdAt, limits, own, used }: AccountView): AccountWire {
  const quotas = quotaNames.map((quota) => ({
    name: quota,
    limit: limits[quota],
    used: used[quota] ?? 0,
    own: own.includes(quota),
  }));
  return { id, name, createdAt: createdAt.toISOString(), quotas };
}

function keyAnswer({ secretId, name, enabled, createdAt, lastUsedAt }: AccessKeyView): AccessKeyWire {
  return {
    secretId,
    name,
    enabled,
    createdAt: createdAt.toISOString(),
    lastUsedAt: lastUsedAt?.toISOString() ?? null,
  };
}

function auditAnswer(view: AuditView): AuditWire {
  const { edge, action, changes, accountId, actor, resourceIds, source, agent, requestId, outcome, durationMs } = view;
  return {
    id: view.id.toString(),
    at: view.at.toISOString(),
    edge,
    action,
    changes,
    accountId,
    actor,
    resourceIds: [...resourceIds],
    source,
    agent,
    requestId,
    outcome,
    durationMs,
  };
}
