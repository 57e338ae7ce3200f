/**
 * The use cases about tenants themselves, a part of `Cloud` (cloud.ts): accounts with their API keys and quotas, and the log of
 * calls. Only operators have them; a tenant learns of its own quotas by the CVM API.
 */
import type { Limits, QuotaName, Amounts } from "../core/quotas.ts";
import type { AccountId } from "../lib/ids.ts";
import type { Listed, Page } from "./cloud.ts";

export interface AccountView {
  id: AccountId;
  name: string;
  createdAt: Date;
  limits: Limits;
  /** The limits that are the account's own and not the defaults. */
  own: QuotaName[];
  used: Amounts;
}

export interface AccessKeyView {
  secretId: string;
  name: string;
  enabled: boolean;
  createdAt: Date;
  /** Within a few seconds; null = never. */
  lastUsedAt: Date | null;
}

export interface Accounts {
  list(page: Page): Promise<Listed<AccountView>>;
  /** By id or name; AccountNotFound for one that is not there or was deleted. */
  get(idOrName: string): Promise<AccountView>;
  /** The id alone, for a call on behalf of it: one short read. */
  idOf(idOrName: string): Promise<AccountId>;
  create(name: string): Promise<AccountView>;
  /** null: the default counts again. */
  setQuotas(id: AccountId, change: Partial<Record<QuotaName, number | null>>): Promise<AccountView>;
  /** Refused while it has anything; its API keys go with it. */
  delete(id: AccountId): Promise<void>;
  keys(id: AccountId): Promise<AccessKeyView[]>;
  /** The secret is returned this once. */
  keyCreate(id: AccountId, name: string): Promise<{ key: AccessKeyView; secretKey: string }>;
  keySetEnabled(id: AccountId, secretId: string, enabled: boolean): Promise<AccessKeyView>;
  keyDelete(id: AccountId, secretId: string): Promise<void>;
}

export type Edge = "cvm" | "native";

/** One call as the log of calls remembers it. It holds ids and names, never what a request carried. */
export interface AuditView {
  id: bigint;
  at: Date;
  edge: Edge;
  action: string;
  /** It could change something; else it read. */
  changes: boolean;
  accountId: string | null;
  /** SecretId or the operator token's name; null: nobody proved who they are. */
  actor: string | null;
  resourceIds: string[];
  source: string;
  agent: string | null;
  requestId: string;
  /** `ok` or the code of the answer; null: under way, or its end was never written. */
  outcome: string | null;
  durationMs: number | null;
}

export interface AuditQuery {
  accountId?: string;
  actions?: string[];
  actor?: string;
  resourceId?: string;
  requestId?: string;
  /** Only calls that could change something, or only those that could not. */
  changes?: boolean;
  failed?: boolean;
  since?: Date;
  until?: Date;
  /** Those with a higher id, oldest first; else the newest, newest first, below `before` if it is given. */
  after?: bigint;
  before?: bigint;
}

export interface AuditTrail {
  /** `total`: how many there are in all, as far as they are counted. */
  list(query: AuditQuery, limit: number): Promise<Listed<AuditView>>;
}
