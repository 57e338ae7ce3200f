/**
 * What the source asks of the target, and what it is answered. Each request names its migration: a port may have been another one's.
 *
 *   check        what the guest is; refused with the reason where it cannot come here (core/migration/preflight.ts)
 *   describe     the guest's machine at the target, for libvirt at the source
 *   prepare      a QEMU that waits for the memory; once. Of the target's own definition: no host says what another one runs
 *   commit       by post-copy: let it run as soon as the memory here lets it. From the answer on the source may switch
 *   finish       let it run; by the connection alone that had it prepared. No answer means that nobody knows. After `commit`: say when it runs
 *   rest         say when all of its memory is here
 *   recover      a way for the memory that is missing, in place of one that broke
 *   connections  what is tracked of the guest's connections; by that link alone, and of that guest alone
 *   word         say what became of it: decides it, where it was open. `released`: no memory comes from the source any more, nor ever will
 */
import * as z from "zod";
import { sourceFactsSchema } from "../../api/agent-preflight.ts";
import { fates, migrationReasons, migrationTransports, mostConnections } from "../../core/migration/halves.ts";
import { Failure, isFailure } from "../../lib/errors.ts";
import { idSchema } from "../../lib/ids.ts";
import { connectionSchema } from "../network/connections.ts";

/** So many are within a line's bound. */
export const connectionsInOneAsk = 1_000;
const connections = z.array(connectionSchema).max(connectionsInOneAsk).readonly();
const cookie = z.base64().max(262_144);
const xml = z.string().max(524_288);

export const askSchema = z.discriminatedUnion("is", [
  z.strictObject({ is: z.literal("check"), facts: sourceFactsSchema, postcopy: z.boolean() }),
  z.strictObject({ is: z.literal("describe"), postcopy: z.boolean(), dirtyRing: z.boolean().optional() }),
  z.strictObject({
    is: z.literal("prepare"),
    cookie,
    transport: z.enum(migrationTransports),
    postcopy: z.boolean(),
    /** Left out: one. */
    connections: z.int().min(2).max(mostConnections).optional(),
  }),
  z.strictObject({ is: z.literal("commit") }),
  z.strictObject({ is: z.literal("finish"), cookie }),
  z.strictObject({ is: z.literal("rest") }),
  z.strictObject({ is: z.literal("recover") }),
  z.strictObject({
    is: z.literal("connections"),
    /** By its place in the guest's specification. */
    nic: z.int().min(0).max(15),
    /** Of what was read at one moment. */
    first: z.boolean(),
    connections,
  }),
  z.strictObject({ is: z.literal("word"), released: z.boolean() }),
]);
export type PeerAsk = z.output<typeof askSchema>;

export const requestSchema = z.strictObject({
  id: z.int().nonnegative(),
  migration: idSchema("migration"),
  ask: askSchema,
});

export const answers = {
  /** Where the link may be tried, for a moment; null: nowhere. */
  check: z.strictObject({ port: z.int().min(1).max(65_535).nullable() }),
  describe: z.strictObject({ xml }),
  prepare: z.strictObject({ cookie, uri: z.string().max(256).nullable() }),
  commit: z.strictObject({}),
  rest: z.strictObject({ cookie }),
  recover: z.strictObject({ uri: z.string().max(256) }),
  finish: z.strictObject({
    /** null: not all of its memory is here yet. */
    cookie: cookie.nullable(),
    /** From the request's arrival until the guest ran, and until this answer; milliseconds of the target's clock. */
    ranAfterMs: z.number().nonnegative().nullable(),
    tookMs: z.number().nonnegative(),
  }),
  connections: z.strictObject({}),
  word: z.strictObject({ fate: z.enum(fates) }),
} as const satisfies Record<PeerAsk["is"], z.ZodType>;
export type PeerAnswer<Is extends PeerAsk["is"]> = z.output<(typeof answers)[Is]>;

const longestMessage = 1_024;
const refusalSchema = z.strictObject({ reason: z.enum(migrationReasons), message: z.string().max(longestMessage) });
export type Refusal = z.output<typeof refusalSchema>;

export const responseSchema = z.union([
  z.strictObject({ id: z.int().nonnegative(), ok: z.unknown() }),
  z.strictObject({ id: z.int().nonnegative(), refused: refusalSchema }),
]);

const code = "MigrationRefused";

export function refused({ reason, message }: Refusal): Failure {
  return new Failure("conflict", code, message.slice(0, longestMessage), { detail: { reason } });
}

/** What the target said when it refused; undefined: it is another failure. */
export function refusalIn(error: unknown): Refusal | undefined {
  if (!isFailure(error) || error.code !== code) return undefined;
  return refusalSchema.parse({ reason: error.detail["reason"], message: error.message });
}
