/** `instance migrate`, and `migration list|show|cancel`: a running guest goes to another host. */
import { closeSync, writeFileSync } from "node:fs";
import { Option, type Command } from "commander";
import type { MigrationWire, StoryLineWire } from "../../api/native/migrations.ts";
import type { NativeClient } from "../../api/native/client.ts";
import { allowedStates } from "../../core/instance.ts";
import { drawMigration } from "../../core/migration/picture.ts";
import { migrationPolicies, type MigrationPolicy } from "../../core/migration/policy.ts";
import { parseId, type MigrationId } from "../../lib/ids.ts";
import { nextStep } from "../advice.ts";
import { Exit, exitCodes, usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { planText } from "../migration-plan.ts";
import { duration, policyText, progressText, stepText, waitForMigration } from "../migration-wait.ts";
import { openNew } from "../new-file.ts";
import { idOf, idsOf } from "../resolve.ts";
import { foretoldText, storyText } from "../migration-story.ts";
import { age, facts, table } from "../table.ts";
import { ceilingOption, collect, contextOf, paintState, waitOptions, wholeNumber, type WaitFlags } from "./shared.ts";

/** Longer than VStation's own patience with two hosts that are slow to answer. */
const planning = { timeoutMs: 75_000 };

export function addMigrate(instance: Command, io: Io): void {
  waitOptions(instance.command("migrate"))
    .argument("<instance>", "id or name")
    .description(`move a guest to another host while it runs (allowed while ${allowedStates.migrate.join(", ")})`)
    .option("--to <host>", "id or name; the host where it fits best when left out")
    .addOption(
      new Option(
        "--policy <policy>",
        "what is done when it changes its memory faster than it can be copied: gentle waits for a quiet moment, throttle slows it (90 % at most), finish slows it and may pause it longer (--ceiling), " +
          "postcopy lets it go on at the target before all of its memory is there",
      )
        .choices(migrationPolicies)
        .default("gentle" satisfies MigrationPolicy),
    )
    .addOption(ceilingOption())
    .option(
      "--dry-run",
      "change nothing: print what it would come to, and every reason against it (takes some seconds)",
    )
    .option("--no-retry", "do not try again when it came to nothing by a lost link, a busy guest or the like")
    .action(async (given: string, flags: MigrateFlags, command: Command) => {
      const context = contextOf(io, command);
      const { client } = context;
      const id = await idOf(client, "instance", given);
      const to = flags.to === undefined ? null : await idOf(client, "host", flags.to);
      const how = { policy: flags.policy, ceilingMs: flags.ceiling ?? null };
      if (flags.dryRun === true) {
        const plan = await client.call("instanceMigratePlan", { params: { id }, request: { to, ...how } }, planning);
        context.print(plan, () => planText(plan, flags.policy));
        if (plan.refusals.length > 0) throw new Exit(exitCodes.refused);
        return;
      }
      const request = { to, ...how, ...(flags.retry ? {} : { tries: 1 }) };
      const { migrationId } = await client.call("instanceMigrate", { params: { id }, request });
      const migration =
        flags.wait === true
          ? await waitForMigration(context, migrationId, flags.timeout * 1000)
          : await client.call("migrationGet", { params: { id: migrationId } });
      context.print(migration, () => migrationTable(io, [migration]));
      if (migration.state === "FAILED") throw new Exit(exitCodes.failed);
    });
}

interface MigrateFlags extends WaitFlags {
  dryRun?: boolean;
  to?: string;
  policy: MigrationPolicy;
  ceiling?: number;
  retry: boolean;
}

interface ListFlags {
  instance?: string[];
  host?: string[];
  open?: boolean;
  limit: number;
}

export function addMigration(program: Command, io: Io): void {
  const migration = program.command("migration").description("running guests on their way to another host");

  migration
    .command("list")
    .alias("ls")
    .description("list moves, newest first")
    .option("--instance <instance>", "of this instance (repeatable)", collect)
    .option("--host <host>", "from or to this host (repeatable)", collect)
    .option("--open", "only those that wait, or that a host has not let go of")
    .option("--limit <n>", "at most so many", wholeNumber(1, 500), 50)
    .action(async (flags: ListFlags, command: Command) => {
      const context = contextOf(io, command);
      const { client } = context;
      const query = {
        limit: flags.limit,
        ...(flags.open === true ? { open: "true" as const } : {}),
        ...(flags.instance === undefined ? {} : { instanceId: await idsOf(client, "instance", flags.instance) }),
        ...(flags.host === undefined ? {} : { hostId: await idsOf(client, "host", flags.host) }),
      };
      const { total, migrations } = await client.call("migrationList", { query });
      context.print({ total, migrations }, () => migrationTable(io, migrations));
    });

  migration
    .command("show")
    .argument("<migration>", "id; or id or name of its instance, for that one's newest")
    .description("show a move: phase, progress, end, and the story of what was seen and done")
    .option("--svg <file>", "draw the story, too, into this file, which must not exist yet")
    .action(async (given: string, flags: { svg?: string }, command: Command) => {
      const context = contextOf(io, command);
      const id = await migrationOf(context.client, given);
      const params = { id };
      const found = await context.client.call("migrationGet", { params });
      const { lines } = await context.client.call("migrationStory", { params });
      if (flags.svg !== undefined) drawInto(flags.svg, found, lines);
      context.print({ ...found, story: lines }, () => migrationText(found) + foretoldText(lines) + storyText(lines));
    });

  waitOptions(migration.command("cancel"))
    .argument("<migration>", "id; or id or name of its instance, for that one's newest")
    .description("call a move off; one that is being handed over may arrive all the same")
    .action(async (given: string, flags: WaitFlags, command: Command) => {
      const context = contextOf(io, command);
      const id = await migrationOf(context.client, given);
      const called = await context.client.call("migrationCancel", { params: { id } });
      const found = flags.wait === true ? await waitForMigration(context, id, flags.timeout * 1000) : called;
      context.print(found, () => migrationTable(io, [found]));
      if (found.phase === "handing")
        context.say("it is being handed over, and may arrive all the same; `--wait` tells");
      // It was to come to nothing.
      if (found.state === "SUCCEEDED") throw new Exit(exitCodes.failed);
    });
}

function drawInto(file: string, { id, instanceId, ...one }: MigrationWire, lines: readonly StoryLineWire[]): void {
  const title = `${instanceId} from ${one.sourceHostId} to ${one.targetHostId ?? "?"}, ${id}`;
  const svg = drawMigration({ title, lines, silences: null, notes: [] });
  if (svg === null) throw usageError(`${id} has no story to draw yet`);
  const opened = openNew(file);
  writeFileSync(opened, svg);
  closeSync(opened);
}

/** A migration's id, or the newest one's of an instance. */
async function migrationOf(client: NativeClient, given: string): Promise<MigrationId> {
  const id = parseId("migration", given);
  if (id !== undefined) return id;
  const instanceId = await idOf(client, "instance", given);
  const { migrations } = await client.call("migrationList", { query: { instanceId: [instanceId], limit: 1 } });
  const [newest] = migrations;
  if (newest === undefined) throw usageError(`${given} was never moved; \`./vstation migration list\` shows what was`);
  return newest.id;
}

function migrationTable(io: Io, migrations: readonly MigrationWire[]): string {
  const now = io.now();
  return table<MigrationWire>(
    [
      { title: "ID", value: ({ id }) => id },
      { title: "INSTANCE", value: ({ instanceId }) => instanceId },
      { title: "FROM", value: ({ sourceHostId }) => sourceHostId },
      { title: "TO", value: ({ targetHostId }) => targetHostId },
      { title: "PHASE", value: (one) => (one.phase === "queued" ? one.phase : stepText(one)) },
      { title: "STATE", value: ({ state }) => state, paint: paintState(io) },
      { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
      {
        title: "REASON",
        value: ({ error, request }) => {
          const why = error ?? request?.waitsFor ?? null;
          return why === null ? null : `${why.code}: ${why.message}`;
        },
      },
    ],
    migrations,
  );
}

function migrationText(one: MigrationWire): string {
  const { source, target, error, request } = one;
  const next = error === null || one.moved ? undefined : nextStep(error.code);
  return facts([
    ["id", one.id],
    ["instance", one.instanceId],
    ["from", one.sourceHostId],
    ["to", one.targetHostId],
    ["phase", progressText(one)],
    ["state", one.state],
    ["error", error === null ? null : `${error.message} (${error.code})`],
    ...(next === undefined ? [] : ([["next", next]] as const)),
    ["policy", policyText(one)],
    ["try", request === null ? null : `${request.attempt} of ${request.tries}, asked by ${askers[request.askedBy]}`],
    ["not before", request?.notBefore ?? null],
    ["tried again as", request?.next ?? null],
    ["instance is on", one.moved ? one.targetHostId : one.sourceHostId],
    ["source says", source?.is ?? null],
    ["target says", target?.is ?? null],
    ["paused for", source?.is === "left" && source.pauseMs !== null ? duration(source.pauseMs) : null],
    ["operation", one.operationId],
    ["account", one.accountId],
    ["created", one.createdAt],
    ["deadline", one.deadline],
    ["ended", one.endedAt],
  ]);
}

const askers = { operator: "an operator", drain: "a drain of its host" } as const;
