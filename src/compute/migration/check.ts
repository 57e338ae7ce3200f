/** The target's look at what the source says of its guest, before anything is made for it. Nothing is changed by it. */
import type { WantedMigration } from "../../api/agent.ts";
import { refusalsOf } from "../../core/migration/preflight.ts";
import type { Identity } from "../link/identity.ts";
import type { Context } from "../vm/context.ts";
import { targetFacts } from "./facts.ts";
import { listenForProbe } from "./probe.ts";
import { refused, type PeerAnswer, type PeerAsk } from "./wire.ts";

export interface CheckOptions {
  readonly context: Context;
  readonly identity: () => Identity | undefined;
  readonly underlayAddress: string;
  readonly wanted: WantedMigration & { half: { is: "target" } };
  /** Those that are copied with the memory. */
  readonly disks: readonly string[];
}

/** Refuses with the first reason's name; the text has all of them. */
export async function checkArrival(
  options: CheckOptions,
  { facts: source, postcopy }: PeerAsk & { is: "check" },
): Promise<PeerAnswer<"check">> {
  const { context, wanted, disks } = options;
  const skewMs = context.nowMs() - source.nowMs;
  const facts = await targetFacts(context, wanted.instanceId, wanted.half.spec);
  const refusals = refusalsOf(source, facts, skewMs, { postcopy, localDisks: disks.length > 0 });
  const [first] = refusals;
  if (first === undefined) return { port: await openProbe(options) };
  throw refused({ reason: first.reason, message: refusals.map(({ message }) => message).join("; ") });
}

/** Nothing is refused because the link cannot be tried. */
async function openProbe({
  context,
  identity,
  underlayAddress: address,
  wanted,
}: CheckOptions): Promise<number | null> {
  const { log } = context;
  try {
    return await listenForProbe({ address, source: wanted.half.sourceHostId, identity, log });
  } catch (error) {
    log.warn({ err: error, migration: wanted.id }, "the link cannot be tried before a migration");
    return null;
  }
}
