/** `account`: tenants, their API keys and what they may have. */
import { closeSync, rmSync, writeFileSync } from "node:fs";
import { InvalidArgumentError, type Command } from "commander";
import type { AccessKeyWire, AccountWire } from "../../api/native/tenancy.ts";
import { quotaNames, type QuotaName } from "../../core/quotas.ts";
import type { Context } from "../context.ts";
import { paint, type Io } from "../io.ts";
import { openNew } from "../new-file.ts";
import { idOf, listAll } from "../resolve.ts";
import { age, facts, table } from "../table.ts";
import { confirmed, contextOf, oneOf } from "./shared.ts";

export function addAccount(program: Command, io: Io): void {
  const account = program.command("account").description("tenants: each sees its own things only");
  addReads(account, io);
  addChanges(account, io);
  addKeys(account.command("key").description("API keys of an account"), io);
}

function addReads(account: Command, io: Io): void {
  account
    .command("list")
    .alias("ls")
    .description("list accounts")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const accounts = await listAll(context.client, "account");
      const now = io.now();
      context.print({ total: accounts.length, accounts }, () =>
        table<AccountWire>(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            { title: "KEYS", value: (one) => used(one, "accessKeys") },
            { title: "INSTANCES", value: (one) => used(one, "instances") },
            { title: "VCPUS", value: (one) => used(one, "vcpus") },
            { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
          ],
          accounts,
        ),
      );
    });

  account
    .command("show")
    .argument("<account>", "id or name")
    .description("show an account: what it may have and what it has")
    .action(async (given: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "account", given);
      print(context, await context.client.call("accountGet", { params: { id } }));
    });
}

function addChanges(account: Command, io: Io): void {
  account
    .command("create")
    .argument("<name>", "letters, digits and inner hyphens")
    .description("make an account; `account key create` makes what its clients need")
    .action(async (name: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const made = await context.client.call("accountCreate", { request: { name } });
      context.print(made, () => `${made.id}\n`);
    });

  account
    .command("set-quota")
    .argument("<account>", "id or name")
    .argument(
      "<quota=limit...>",
      `such as instances=20; \`default\` takes the own limit away. Quotas: ${quotaNames.join(", ")}`,
      quotaSetting,
    )
    .description("set how much an account may have; what it has already stays")
    .action(async (given: string, quotas: Quotas, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "account", given);
      print(context, await context.client.call("accountSetQuotas", { params: { id }, request: { quotas } }));
    });

  account
    .command("delete")
    .alias("rm")
    .argument("<account>", "id or name")
    .description("delete an account that has nothing; its API keys go with it")
    .option("-y, --yes", "do not ask")
    .action(async (given: string, flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "account", given);
      await confirmed(context, flags.yes, `Delete ${given} and its API keys?`);
      await context.client.call("accountDelete", { params: { id } });
      context.print({ deleted: [id] }, () => `deleted ${id}\n`);
    });
}

function addKeys(key: Command, io: Io): void {
  key
    .command("list")
    .alias("ls")
    .argument("<account>", "id or name")
    .description("list an account's API keys")
    .action(async (given: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "account", given);
      const { total, keys } = await context.client.call("accessKeyList", { params: { id } });
      const now = io.now();
      context.print({ total, keys }, () =>
        table<AccessKeyWire>(
          [
            { title: "SECRET ID", value: ({ secretId }) => secretId },
            { title: "NAME", value: ({ name }) => name },
            {
              title: "STATE",
              value: ({ enabled }) => (enabled ? "enabled" : "disabled"),
              paint: (text, { enabled }) => paint(io, enabled ? "green" : "dim", text),
            },
            {
              title: "USED",
              value: ({ lastUsedAt }) => (lastUsedAt === null ? "never" : `${age(lastUsedAt, now)} ago`),
            },
            { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
          ],
          keys,
        ),
      );
    });

  key
    .command("create")
    .argument("<account>", "id or name")
    .description("make an API key; its secret is shown this once")
    .option("--name <name>", "to tell it from others", "key")
    .option("--out <file>", "write the credentials there (mode 0600) instead of standard output")
    .action(async (given: string, flags: { name: string; out?: string }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "account", given);
      const { endpoint, region, zone } = context.credentials();
      // Before the key is made: a secret that cannot be put down is lost.
      const file = flags.out === undefined ? undefined : openNew(flags.out);
      const request = { name: flags.name };
      const made = await context.client.call("accessKeyCreate", { params: { id }, request }).catch((error: unknown) => {
        if (flags.out !== undefined) rmSync(flags.out);
        throw error;
      });
      const { secretId } = made.key;
      const credentials = { endpoint, secretId, secretKey: made.secretKey, region, zone };
      if (file !== undefined) {
        writeFileSync(file, `${JSON.stringify(credentials, undefined, 2)}\n`);
        closeSync(file);
      }
      const document = flags.out === undefined ? made : { key: made.key, credentialsFile: flags.out };
      context.print(document, () =>
        flags.out === undefined
          ? facts([
              ["SecretId", secretId],
              ["SecretKey", made.secretKey],
            ])
          : `${secretId}: credentials in ${flags.out}\n`,
      );
      if (flags.out === undefined) context.say(`${secretId}: keep the secret, it is not shown again`);
    });

  for (const [verb, enabled] of [
    ["disable", false],
    ["enable", true],
  ] as const) {
    key
      .command(verb)
      .argument("<account>", "id or name")
      .argument("<secret-id>", "AKID...")
      .description(enabled ? "let an API key in again" : "refuse an API key from now on; it can be enabled again")
      .action(async (given: string, secretId: string, _flags: unknown, command: Command) => {
        const context = contextOf(io, command);
        const id = await idOf(context.client, "account", given);
        const shown = await context.client.call("accessKeySet", { params: { id, secretId }, request: { enabled } });
        context.print(shown, () => `${secretId} is ${verb}d\n`);
      });
  }

  key
    .command("delete")
    .alias("rm")
    .argument("<account>", "id or name")
    .argument("<secret-id>", "AKID...")
    .description("delete an API key")
    .option("-y, --yes", "do not ask")
    .action(async (given: string, secretId: string, flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "account", given);
      await confirmed(context, flags.yes, `Delete ${secretId}?`);
      await context.client.call("accessKeyDelete", { params: { id, secretId } });
      context.print({ deleted: [secretId] }, () => `deleted ${secretId}\n`);
    });
}

type Quotas = Partial<Record<QuotaName, number | null>>;

const quotaName = oneOf(quotaNames);

function quotaSetting(text: string, before: Quotas | undefined): Quotas {
  const [name = "", limit = ""] = text.split("=");
  if (!/^(\d{1,9}|default)$/.test(limit)) {
    throw new InvalidArgumentError("write QUOTA=LIMIT, such as instances=20; LIMIT is 0 to 999999999, or `default`");
  }
  return { ...before, [quotaName(name)]: limit === "default" ? null : Number(limit) };
}

function used({ quotas }: AccountWire, quota: QuotaName): number {
  return quotas.find(({ name }) => name === quota)?.used ?? 0;
}

function print(context: Context, account: AccountWire): void {
  context.print(
    account,
    () =>
      facts([
        ["ID", account.id],
        ["Name", account.name],
        ["Created", account.createdAt],
      ]) +
      "\n" +
      table(
        [
          { title: "QUOTA", value: ({ name }) => name },
          { title: "USED", value: (one) => one.used },
          { title: "LIMIT", value: ({ limit }) => limit },
          { title: "", value: ({ own }) => (own ? "own" : "default") },
        ],
        account.quotas,
      ),
  );
}
