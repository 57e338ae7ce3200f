/** Routes of live migration: a running guest goes to another host. For operators. */
import * as z from "zod";
import { migrationReasons } from "../../core/migration/halves.ts";
import { defaultTries, mostTries } from "../../core/migration/retry.ts";
import { migrationPhases } from "../../core/migration/migration.ts";
import { operationStates } from "../../core/instance.ts";
import { idSchema } from "../../lib/ids.ts";
import { defaultCeilingMs, longestFetchMs } from "../../core/migration/policy.ts";
import { ceilingSchema, migrationPolicySchema, progressSchema, storyLineSchema } from "../agent-migration.ts";
import { instanceParams, pageFields, several } from "./requests.ts";
import { counter, time, total } from "./resources.ts";
import { route } from "./route.ts";

const migrationParams = z.strictObject({ id: idSchema("migration") });

const migratePlanRequest = z
  .strictObject({
    to: idSchema("host").nullable().default(null).describe("null: the host where it fits best."),
    policy: migrationPolicySchema
      .default("gentle")
      .describe(
        "What is done about a guest that changes its memory faster than it can be copied. `gentle`: it is not slowed, and stays " +
          "where it is if no quiet moment comes. `throttle`: it is slowed in steps, by 90 % at most. `finish`: by 80 % at most, " +
          "and then paused longer, up to the ceiling. `postcopy`: it is not slowed, and goes on at the target before all of its memory " +
          "is there; from then until that is so it needs both hosts, and the move cannot be called off.",
      ),
    ceilingMs: ceilingSchema
      .nullable()
      .default(null)
      .describe(`The longest pause that \`finish\` may plan with, in milliseconds; null: ${defaultCeilingMs}.`),
  })
  .meta({ id: "MigratePlanRequest" });

const migrateRequest = migratePlanRequest
  .extend({
    tries: z
      .int()
      .min(1)
      .max(mostTries)
      .default(defaultTries)
      .describe(
        "How often it is tried when that may help: after a lost link, say. Each try is a migration of its own.",
      ),
  })
  .meta({ id: "MigrateRequest" });

const bytes = z.number().describe("Bytes.");
const ms = z.number().describe("Milliseconds.");
const rate = z.number().describe("Bytes per second.");

const converges = z.object({ is: z.literal("converges") });
const brake = z.object({ is: z.literal("brake"), bytesPerSecond: rate });

const predicted = z.object({
  memoryBytes: bytes,
  curve: z
    .object({ bytesPerSecond: rate, workingSetBytes: bytes })
    .describe("How the guest writes: so fast, to so much of its memory."),
  linkBytesPerSecond: rate,
  limitMs: ms.describe("It is paused when what is left is expected to take no longer."),
  fixedMs: ms.describe("What a pause takes beside that."),
  verdict: z
    .discriminatedUnion("is", [converges, brake])
    .describe("`brake`: what is left does not become small by itself; the guest must be held to this rate of writing."),
  copyMs: ms.describe("From the first byte to the pause; with the brake on, where one is needed."),
  rounds: counter,
  pauseMs: ms,
});
const withCaution = "Made with twice the rate that was measured: while it is copied a guest dirties more.";
const prediction = predicted.describe(withCaution);

const forecast = predicted
  .extend({
    verdict: z
      .discriminatedUnion("is", [
        converges,
        brake,
        z.object({ is: z.literal("pause") }),
        z.object({ is: z.literal("fetch"), fetchMs: ms }),
        z.object({ is: z.literal("fetch_too_long"), fetchMs: ms, bytesPerSecond: rate }),
      ])
      .describe(
        "By the policy. But for `converges` what is left does not become small by itself. `brake`: the guest must be held to this rate of writing, or come " +
          "down to it. `pause` (by `finish`): it fits into `limitMs`, to which the pause grows. `fetch` (by `postcopy`): it goes on at the target, and fetches the rest there in so long. " +
          `\`fetch_too_long\`: that would take longer than the ${longestFetchMs} ms that are allowed, so it must come down to this rate by itself.`,
      ),
  })
  .describe(withCaution);

export const migrationPlanSchema = z
  .object({
    instanceId: idSchema("instance"),
    sourceHostId: idSchema("host").nullable(),
    targetHostId: idSchema("host").nullable().describe("null: there is none."),
    chosen: z
      .enum(["asked", "best_fit"])
      .describe("`best_fit`: of the hosts that can take it, the one that is left with the least room."),
    refusals: z
      .array(
        z.object({
          code: z.string().describe("As the order would be refused, or as its operation would end."),
          message: z.string(),
          by: z.enum(["vstation", "hosts", "source", "target", "link"]),
        }),
      )
      .describe("All of them; with none a move would be begun, or wait for its turn."),
    memoryBytes: bytes.nullable().describe("What it has ever touched of its memory: so much is sent at first."),
    imageHere: z.boolean().nullable().describe("Its image lies at the target; else it is fetched first."),
    postcopy: z.boolean().nullable().describe("The target could fetch memory while the guest runs there already."),
    link: z.object({ bytesPerSecond: rate, roundTripMs: ms }).nullable().describe("As a short probe found it."),
    samples: z
      .array(z.object({ ms, bytes }))
      .nullable()
      .describe("So many different bytes of its memory the guest wrote within so many milliseconds."),
    prediction: forecast.nullable(),
  })
  .meta({
    id: "MigrationPlan",
    description: "What a move would come to. null: that could not be known; a refusal says why.",
  });

export type MigrationPlanWire = z.infer<typeof migrationPlanSchema>;

const migrationQuery = z.strictObject({
  ...pageFields,
  id: several(idSchema("migration")),
  instanceId: several(idSchema("instance")),
  hostId: several(idSchema("host")).describe("As source or target."),
  open: z.enum(["true", "false"]).optional().describe("`true`: only those that a host has not let go of yet."),
});

const reason = z.enum(migrationReasons);
const end = { reason, message: z.string() };

const sourceState = z
  .discriminatedUnion("is", [
    z.object({ is: z.literal("waiting"), step: z.string() }),
    z.object({ is: z.literal("copying"), progress: z.object(progressSchema.shape).nullable() }),
    z.object({ is: z.literal("handing") }),
    z.object({ is: z.literal("feeding"), remainingBytes: bytes.nullable(), broken: z.boolean() }),
    z.object({ is: z.literal("stayed"), ...end }),
    z.object({ is: z.literal("left"), pauseMs: z.number().nullable() }),
  ])
  .describe(
    "The source's last word. `handing`: the guest is paused there, and may run at the target already. `feeding`: it runs there, and what it has not fetched of its memory is here; `broken`: nothing of that comes over at present.",
  );

const targetState = z
  .discriminatedUnion("is", [
    z.object({ is: z.literal("preparing"), step: z.string() }),
    z.object({ is: z.literal("listening"), port: counter }),
    z.object({ is: z.literal("fetching"), port: counter.nullable() }),
    z.object({ is: z.literal("arrived") }),
    z.object({ is: z.literal("dropped"), ...end }),
  ])
  .describe("The target's last word.");

const [began, look, pulled, step, ...ends] = storyLineSchema.options;
const [throttle, pause, postcopy, giveUp] = pulled.shape.lever.options;
const loose = <Shape extends z.ZodRawShape>({ shape }: z.ZodObject<Shape>) => z.object(shape);

const storyLine = z
  .discriminatedUnion("is", [
    loose(began),
    loose(look),
    z.object({
      ...pulled.shape,
      lever: z.discriminatedUnion("pull", [loose(throttle), loose(pause), loose(postcopy), loose(giveUp)]),
    }),
    loose(step),
    loose(ends[0]),
    loose(ends[1]),
    z.object({ ...ends[2].shape, prediction }),
  ])
  .meta({ id: "MigrationStoryLine", description: "`at` is in milliseconds since 1970." });

export type StoryLineWire = z.infer<typeof storyLine>;

const requestSchema = z
  .object({
    askedBy: z.enum(["operator", "drain"]),
    attempt: counter.describe("Which try this is, from 1 on."),
    tries: counter.describe("At most."),
    next: idSchema("migration").nullable().describe("The try that follows on this one, which came to nothing."),
    waitsFor: z
      .object({ code: z.string(), message: z.string() })
      .nullable()
      .describe("What a queued one waits for, where that is more than its turn."),
    notBefore: time.nullable().describe("Of a queued one."),
  })
  .describe("What it is a try of.");

export const migrationSchema = z
  .object({
    id: idSchema("migration"),
    instanceId: idSchema("instance"),
    accountId: idSchema("account"),
    operationId: idSchema("operation").nullable().describe("`null`: it never began, or has not yet."),
    sourceHostId: idSchema("host"),
    targetHostId: idSchema("host").nullable().describe("`null`: it has not begun, and any host will do."),
    phase: z
      .enum(migrationPhases)
      .describe(
        "`queued`: its turn has not come, and nothing was done for it. `clearing`: where the guest goes on is decided; a host has not yet let go of what it had of it.",
      ),
    state: z.enum(operationStates).describe("Of its operation, which ends when the guest's place is decided."),
    error: z.object({ code: z.string(), message: z.string() }).nullable().describe("Why it came to nothing."),
    cancelling: z.boolean(),
    policy: migrationPolicySchema,
    ceilingMs: ceilingSchema.nullable().describe("The longest pause that may be planned with, where that may grow."),
    moved: z.boolean().describe("The instance is the target's."),
    source: sourceState.nullable(),
    target: targetState.nullable(),
    request: requestSchema.nullable().describe("`null`: a former release began it."),
    createdAt: time,
    deadline: time.nullable().describe("Past it the copy is called off; `null`: it has not begun."),
    endedAt: time.nullable().describe("When nothing of it was open at either host any more."),
  })
  .meta({ id: "Migration", description: "The move of a running guest to another host. It stays as history." });

export type MigrationWire = z.infer<typeof migrationSchema>;

export const migrationRoutes = {
  instanceMigrate: route({
    method: "POST",
    path: "/v1/instances/{id}/migrate",
    tag: "migrations",
    summary: "Moves a running guest to another host",
    params: instanceParams,
    request: migrateRequest,
    response: z.object({
      migrationId: idSchema("migration"),
      operationIds: z.array(idSchema("operation")).describe("Empty: it waits in the queue."),
    }),
    status: 202,
    errors: ["not_found", "conflict", "no_capacity"],
  }),
  instanceMigratePlan: route({
    method: "POST",
    path: "/v1/instances/{id}/migrate/plan",
    tag: "migrations",
    summary: "Tells what a move would come to, and every reason against it; changes nothing",
    params: instanceParams,
    request: migratePlanRequest,
    response: migrationPlanSchema,
    errors: ["not_found"],
  }),
  migrationList: route({
    method: "GET",
    path: "/v1/migrations",
    tag: "migrations",
    summary: "Lists moves of running guests, newest first",
    query: migrationQuery,
    response: z.object({ total, migrations: z.array(migrationSchema) }),
  }),
  migrationGet: route({
    method: "GET",
    path: "/v1/migrations/{id}",
    tag: "migrations",
    summary: "Shows a move: phase, progress, end",
    params: migrationParams,
    response: migrationSchema,
    errors: ["not_found"],
  }),
  migrationStory: route({
    method: "GET",
    path: "/v1/migrations/{id}/story",
    tag: "migrations",
    summary: "Tells what was seen and done in the course of a move",
    params: migrationParams,
    response: z.object({
      lines: z
        .array(storyLine)
        .describe("In their order; as far as its source has told them, which is all when it has ended."),
    }),
    errors: ["not_found"],
  }),
  migrationCancel: route({
    method: "POST",
    path: "/v1/migrations/{id}/cancel",
    tag: "migrations",
    summary: "Calls a move off; one that is being handed over may arrive all the same",
    params: migrationParams,
    response: migrationSchema,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
};
