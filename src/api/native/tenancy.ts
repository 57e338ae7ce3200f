/** Accounts, their API keys and quotas, and the log of calls: what goes in, what comes out, and the routes. */
import * as z from "zod";
import { quotaNames, type QuotaName } from "../../core/quotas.ts";
import { idSchema } from "../../lib/ids.ts";
import { total } from "./resources.ts";
import { route } from "./route.ts";

const time = z.iso.datetime();
const name = z.string().min(1).max(64);
const secretId = z.string().regex(/^AKID[0-9a-f]{32}$/, "a SecretId: AKID and 32 hexadecimal digits");
const limit = z.int().min(0).max(1_000_000_000);

const page = {
  offset: z.coerce.number().int().min(0).max(1_000_000_000).default(0),
  limit: z.coerce.number().int().min(1).max(500).default(100),
};
const accountParams = z.strictObject({ id: idSchema("account") });
const keyParams = z.strictObject({ id: idSchema("account"), secretId });

const accountSchema = z
  .object({
    id: idSchema("account"),
    name: z.string(),
    createdAt: time,
    quotas: z.array(
      z.object({
        name: z.enum(quotaNames),
        limit: z.number(),
        used: z.number(),
        own: z.boolean().describe("Set for this account; else the default."),
      }),
    ),
  })
  .meta({ id: "Account" });

const accessKeySchema = z
  .object({
    secretId,
    name: z.string(),
    enabled: z.boolean(),
    createdAt: time,
    lastUsedAt: time.nullable().describe("Within a few seconds."),
  })
  .meta({ id: "AccessKey" });

const auditSchema = z
  .object({
    id: z.string().regex(/^\d{1,19}$/, "a number"),
    at: time,
    edge: z.enum(["cvm", "native"]),
    action: z.string(),
    changes: z.boolean().describe("It could change something; else it read."),
    accountId: z.string().nullable(),
    actor: z.string().nullable().describe("SecretId or the operator token's name; null: nobody proved who they are."),
    resourceIds: z.array(z.string()),
    source: z.string(),
    agent: z.string().nullable(),
    requestId: z.string(),
    outcome: z
      .string()
      .nullable()
      .describe("`ok` or the answer's code; null: under way, or its end was never written."),
    durationMs: z.number().nullable(),
  })
  .meta({ id: "AuditRecord", description: "One call at either API: who, what, on what, from where, how it ended." });

const quotaSettings = z
  .strictObject(
    Object.fromEntries(quotaNames.map((quota) => [quota, limit.nullable().optional()])) as Record<
      QuotaName,
      z.ZodOptional<z.ZodNullable<z.ZodInt>>
    >,
  )
  .describe("null: the default again.");

const cursor = z
  .string()
  .regex(/^\d{1,18}$/, "the id of a record, which is a number")
  .optional();
const flag = z.enum(["true", "false"]).optional();

/** Calls are many, and how many exactly matters to nobody beyond this. */
export const auditCounted = 10_000;

export const auditQuery = z.strictObject({
  accountId: idSchema("account").optional(),
  action: z.array(z.string().min(1).max(64)).max(100).optional(),
  actor: z.string().min(1).max(64).optional(),
  resourceId: z.string().min(1).max(64).optional(),
  requestId: z.string().min(1).max(64).optional(),
  changes: flag.describe("Only what could change something, or only what could not."),
  failed: flag,
  since: time.optional(),
  until: time.optional(),
  after: cursor.describe("Those behind this id, oldest first; else the newest, newest first."),
  before: cursor.describe("Those before this id."),
  limit: page.limit,
});

/** A name may not look like an id: wherever one is taken, so is the other. */
const accountName = z
  .string()
  .regex(
    /^(?!acct-[a-z0-9]{8}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/,
    "lower-case letters, digits and inner hyphens, from 1 to 63 of them, and no account's id",
  );

export const tenancyRoutes = {
  accountList: route({
    method: "GET",
    path: "/v1/accounts",
    tag: "accounts",
    summary: "Lists accounts with their quotas",
    query: z.strictObject(page),
    response: z.object({ total, accounts: z.array(accountSchema) }),
  }),
  accountCreate: route({
    method: "POST",
    path: "/v1/accounts",
    tag: "accounts",
    summary: "Makes an account",
    request: z.strictObject({ name: accountName }).meta({ id: "AccountCreateRequest" }),
    response: accountSchema,
    status: 201,
    errors: ["conflict"],
  }),
  accountGet: route({
    method: "GET",
    path: "/v1/accounts/{id}",
    tag: "accounts",
    summary: "Shows an account, what it may have and what it has",
    params: accountParams,
    response: accountSchema,
    errors: ["not_found"],
  }),
  accountSetQuotas: route({
    method: "PATCH",
    path: "/v1/accounts/{id}",
    tag: "accounts",
    summary: "Sets quotas of an account",
    params: accountParams,
    request: z
      .strictObject({
        quotas: quotaSettings,
      })
      .meta({ id: "AccountQuotasRequest" }),
    response: accountSchema,
    errors: ["not_found"],
  }),
  accountDelete: route({
    method: "DELETE",
    path: "/v1/accounts/{id}",
    tag: "accounts",
    summary: "Deletes an account that has nothing; its API keys go with it",
    params: accountParams,
    response: z.object({}),
    errors: ["not_found", "conflict"],
  }),
  accessKeyList: route({
    method: "GET",
    path: "/v1/accounts/{id}/keys",
    tag: "accounts",
    summary: "Lists an account's API keys",
    params: accountParams,
    response: z.object({ total, keys: z.array(accessKeySchema) }),
    errors: ["not_found"],
  }),
  accessKeyCreate: route({
    method: "POST",
    path: "/v1/accounts/{id}/keys",
    tag: "accounts",
    summary: "Makes an API key; its secret is in this answer and nowhere else",
    params: accountParams,
    request: z.strictObject({ name: name.default("key") }).meta({ id: "AccessKeyCreateRequest" }),
    response: z.object({ key: accessKeySchema, secretKey: z.string().describe("Shown this once.") }),
    status: 201,
    errors: ["not_found", "limit"],
  }),
  accessKeySet: route({
    method: "PATCH",
    path: "/v1/accounts/{id}/keys/{secretId}",
    tag: "accounts",
    summary: "Disables an API key, or enables it again; at once, on every replica",
    params: keyParams,
    request: z.strictObject({ enabled: z.boolean() }).meta({ id: "AccessKeyChangeRequest" }),
    response: accessKeySchema,
    errors: ["not_found"],
  }),
  accessKeyDelete: route({
    method: "DELETE",
    path: "/v1/accounts/{id}/keys/{secretId}",
    tag: "accounts",
    summary: "Deletes an API key",
    params: keyParams,
    response: z.object({}),
    errors: ["not_found"],
  }),
  auditList: route({
    method: "GET",
    path: "/v1/audit",
    tag: "audit",
    summary: "Reads the log of calls",
    query: auditQuery,
    response: z.object({
      total: total.describe(`Of the whole selection, not of this page; counting ends at ${auditCounted}.`),
      records: z.array(auditSchema),
    }),
  }),
};

export type AccountWire = z.infer<typeof accountSchema>;
export type AccessKeyWire = z.infer<typeof accessKeySchema>;
export type AuditWire = z.infer<typeof auditSchema>;
