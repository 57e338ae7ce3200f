/** What VStation is told of an instance, put together from what its worker knows. Pure. */
import type { SeenInstance } from "../../api/agent.ts";
import type { SeenDisk } from "../../api/agent-storage.ts";
import type { Mark, RunRecord } from "../../core/ensure.ts";
import type { SeenPhase } from "../../core/seen.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { WantedEntry } from "../wanted/store.ts";
import { messageOf } from "./failures.ts";
import { wantedOf, type LiveDisks } from "./live-disks.ts";

export interface Known {
  readonly entry: WantedEntry | undefined;
  readonly run: RunRecord | null;
  readonly mark: Mark | null;
  /** Those of the machine that runs; null: none does. */
  readonly disks: Pick<LiveDisks, "seen"> | null;
}

export function seenInstance(id: InstanceId, phase: SeenPhase, known: Known): SeenInstance {
  const { entry, run, mark } = known;
  const doc = phase.is === "stranger" ? undefined : entry?.doc;
  return {
    id,
    epoch: Math.max(run?.epoch ?? 0, mark?.epoch ?? 0, doc?.epoch ?? 0),
    generation: doc?.generation ?? 0,
    phase,
    disks: phase.is === "gone" ? [] : disksOf(doc, known.disks),
  };
}

/** In the machine that runs; where none runs, what its next start gets. */
function disksOf(doc: WantedEntry["doc"] | undefined, running: Known["disks"]): SeenDisk[] | null {
  if (doc === undefined) return [];
  if (running !== null) return running.seen(doc.spec);
  return wantedOf(doc.spec).map(({ id, sizeGiB }) => ({ id, sizeGiB, made: false, problem: null }));
}

/** Its record cannot be read: nobody knows what ran, and a person has to look. */
export function damaged(why: string, entry: WantedEntry | undefined): SeenPhase {
  const power = entry?.doc.power;
  const incarnation = power?.state === "running" ? power.incarnation : 0;
  const message = messageOf(new Error(`its record on the host cannot be read; restore it or remove it: ${why}`));
  return { is: "failed", incarnation, reason: "io_error", message, attempts: 1 };
}
