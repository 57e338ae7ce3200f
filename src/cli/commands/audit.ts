/** `audit list`: who asked for what, from where, and how it ended. */
import { setTimeout as sleep } from "node:timers/promises";
import { InvalidArgumentError, type Command } from "commander";
import type { RouteInput } from "../../api/native/routes.ts";
import type { AuditWire } from "../../api/native/tenancy.ts";
import type { Context } from "../context.ts";
import { paint, type Io } from "../io.ts";
import { table } from "../table.ts";
import { collect, contextOf, wholeNumber } from "./shared.ts";

interface Flags {
  action?: string[];
  actor?: string;
  resource?: string;
  request?: string;
  since?: string;
  changes?: boolean;
  failed?: boolean;
  follow?: boolean;
  limit: number;
}

type Query = NonNullable<RouteInput<"auditList">["query"]>;

const followMs = 1_000;
const followRows = 500;

export function addAudit(program: Command, io: Io): void {
  program
    .command("audit")
    .description("the log of calls")
    .command("list")
    .alias("ls")
    .description("list calls, the newest last; `--account` shows those for one account")
    .option("--action <action>", "of this name (repeatable)", collect)
    .option("--actor <who>", "by this SecretId, or `operator`")
    .option("--resource <id>", "that named or made this")
    .option("--request <id>", "with this request id")
    .option("--since <time>", "not older than 90s, 30m, 12h, 7d, or a time such as 2026-01-31T12:00:00Z", (given) =>
      timeOf(given, io.now()),
    )
    .option("--changes", "only what could change something")
    .option("--failed", "only what was refused or failed")
    .option("--limit <n>", "at most so many", wholeNumber(1, 500), 50)
    .option("-f, --follow", "go on with what comes")
    .action(async (flags: Flags, command: Command) => {
      const context = contextOf(io, command);
      const query: Query = {
        action: flags.action,
        actor: flags.actor,
        resourceId: flags.resource,
        requestId: flags.request,
        since: flags.since,
        changes: flags.changes === true ? "true" : undefined,
        failed: flags.failed === true ? "true" : undefined,
      };
      const { total, records } = await context.client.call("auditList", { query: { ...query, limit: flags.limit } });
      const shown = records.toReversed();
      if (flags.follow !== true) return context.print({ total, records: shown }, () => text(io, shown));
      tell(context, shown);
      await follow(context, query, shown.at(-1)?.id ?? "0");
    });
}

/** Until Ctrl-C. */
async function follow(context: Context, query: Query, from: string): Promise<void> {
  for (let after = from; !context.io.signal.aborted;) {
    const { records } = await context.client.call("auditList", { query: { ...query, after, limit: followRows } });
    tell(context, records);
    after = records.at(-1)?.id ?? after;
    if (records.length < followRows) await sleep(followMs, undefined, { signal: context.io.signal });
  }
}

/** A line per call: text for people, a JSON document for programs. */
function tell(context: Context, records: readonly AuditWire[]): void {
  if (records.length === 0) return;
  const lines = context.json ? records.map((record) => `${JSON.stringify(record)}\n`) : [text(context.io, records)];
  for (const line of lines) context.io.out(line);
}

function text(io: Io, records: readonly AuditWire[]): string {
  return table<AuditWire>(
    [
      { title: "TIME", value: ({ at }) => at.slice(0, 19) },
      { title: "ACCOUNT", value: ({ accountId }) => accountId },
      { title: "WHO", value: ({ actor }) => actor },
      { title: "ACTION", value: ({ action }) => action },
      {
        title: "ON",
        value: ({ resourceIds }) => resourceIds.slice(0, 3).join(",") + (resourceIds.length > 3 ? ",..." : ""),
      },
      {
        title: "OUTCOME",
        value: ({ outcome }) => outcome ?? "unknown",
        paint: (cell, { outcome }) => paint(io, outcome === "ok" ? "green" : outcome === null ? "yellow" : "red", cell),
      },
      { title: "FROM", value: ({ source }) => source },
      { title: "REQUEST", value: ({ requestId }) => requestId },
    ],
    records,
  );
}

const unitMs: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

function timeOf(given: string, now: number): string {
  const [, count = "", unit = ""] = /^(\d{1,6})([smhd])$/.exec(given) ?? [];
  const time = count === "" ? Date.parse(given) : now - Number(count) * (unitMs[unit] ?? 0);
  if (Number.isNaN(time)) throw new InvalidArgumentError(`it is neither an age such as 30m nor a time`);
  return new Date(time).toISOString();
}
