/**
 * Brings open work on disks and snapshots to its end, from what hosts have said of machines and jobs. Like the reconciler of instances
 * it takes no input but "look now", reads the whole of one disk or snapshot under its row locks, takes one step by a pure rule
 * (core/disk.ts) and writes it in the same transaction.
 *
 * What is open is asked of SQL at each pass, and only that: with nothing open a pass is three small queries, and none is made
 * unless something was announced or something is open. Only the holder of the zone's lease runs one; the row locks keep it right.
 */
import { decideDisk, diskWorkMs, type DiskDecision, type DiskFacts } from "../../core/disk.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { unreachable } from "../../lib/errors.ts";
import type { DiskId, InstanceId, SnapshotId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Store, Tx } from "../store/database.ts";
import { diskLock, diskSave, disksUnsettled } from "../store/disks.ts";
import { instanceModifyRows } from "../store/instance-modify.ts";
import { instanceLock, type LockedInstance } from "../store/instances.ts";
import { jobBegin, jobEnd, jobRead, jobsFinished } from "../store/jobs.ts";
import type { DiskRow, HostJobRow } from "../store/schema.ts";
import { snapshotLock, snapshotSave, snapshotsUnsettled } from "../store/snapshots.ts";
import { alone, Nudged } from "./nudged.ts";

interface StorageOptions {
  readonly store: Store;
  readonly zone: string;
  readonly log: Log;
}

/** Deadlines are looked after as often as {@link Nudged} looks again while anything is open. */
export function storageReconciler(options: StorageOptions): Nudged {
  return new Nudged({ log: options.log, doing: "looking after disks", pass: () => pass(options) });
}

/** True while anything is open. */
async function pass({ store, zone, log }: StorageOptions): Promise<boolean> {
  const disks = await store.read((db) => disksUnsettled(db, zone));
  const snapshots = await store.read((db) => snapshotsUnsettled(db, zone));
  const jobs = await store.read((db) => jobsFinished(db, zone));
  for (const { id, instanceId } of disks) {
    await alone(log, id, () => store.transaction((tx) => settleDisk(tx, id, instanceId, Date.now())));
  }
  for (const id of snapshots) await alone(log, id, () => store.transaction((tx) => settleSnapshot(tx, id)));
  for (const id of jobs) await alone(log, id, () => store.transaction((tx) => jobEnd(tx, id)));
  return disks.length > 0 || snapshots.length > 0;
}

async function settleDisk(tx: Tx, id: DiskId, holder: InstanceId | null, now: number): Promise<void> {
  const [instance] = holder === null ? [] : await instanceLock(tx, [holder]);
  const [row] = await diskLock(tx, [id]);
  // It moved on between the reading and the lock: the next pass sees how.
  if (row === undefined || row.work === null || row.instance_id !== holder) return;
  const job = row.work.is === "apply" ? await jobRead(tx.db, row.work.jobId) : undefined;
  const decision = decideDisk(factsOf(row, instance, job), now);
  await write(tx, row, instance, job, decision, now);
  crashPoint("storage.disk.settled");
}

function factsOf(row: DiskRow, instance: LockedInstance | undefined, job: HostJobRow | undefined): DiskFacts {
  if (row.work === null) throw new Error(`nothing is under way with ${row.id}`);
  return {
    work: row.work,
    sizeGiB: row.size_gib,
    deadline: row.due_at?.getTime() ?? 0,
    seen: seenOf(row, instance),
    hostReachable: instance?.hostConnected ?? false,
    job: jobFacts(job),
  };
}

function seenOf(row: DiskRow, instance: LockedInstance | undefined): DiskFacts["seen"] {
  if (instance === undefined) return null;
  const { seen_disks: disks, seen_epoch, seen_generation, epoch } = instance.row;
  if (disks === null || seen_epoch !== epoch || seen_generation < row.generation) return null;
  const found = disks.find((disk) => disk.id === row.id);
  if (found === undefined) return { isIn: false, sizeGiB: 0, problem: null };
  // A size of 0 says that it is not in the machine, and why.
  return { isIn: found.sizeGiB > 0, sizeGiB: found.sizeGiB, problem: found.problem };
}

function jobFacts(job: HostJobRow | undefined): DiskFacts["job"] {
  const seen = job?.seen;
  if (job !== undefined && job.ended_at !== null && seen?.is !== "done")
    return { is: "failed", message: "it was ended" };
  if (seen?.is === "done") return { is: "done" };
  if (seen?.is === "failed") return { is: "failed", message: seen.message };
  return { is: "running" };
}

async function write(
  tx: Tx,
  row: DiskRow,
  instance: LockedInstance | undefined,
  job: HostJobRow | undefined,
  decision: DiskDecision,
  now: number,
): Promise<void> {
  switch (decision.is) {
    case "wait":
      if (decision.deadline === undefined && decision.problem === undefined) return;
      return await diskSave(tx, row.id, {
        ...(decision.deadline === undefined ? {} : { due_at: new Date(decision.deadline) }),
        ...(decision.problem === undefined ? {} : { problem: decision.problem }),
      });
    case "settled":
      await diskSave(tx, row.id, {
        work: null,
        made: row.made || row.work?.is === "apply",
        problem: null,
        due_at: null,
      });
      break;
    case "released":
      // What it says about an attach that failed stays to be read.
      await diskSave(tx, row.id, { work: null, instance_id: null, slot: null, due_at: null });
      break;
    case "given-up":
      await giveUp(tx, row, instance, job, decision, now);
      break;
    default:
      return unreachable(decision);
  }
  if (job !== undefined) await jobEnd(tx, job.id);
}

async function giveUp(
  tx: Tx,
  row: DiskRow,
  instance: LockedInstance | undefined,
  job: HostJobRow | undefined,
  { then, problem }: DiskDecision & { is: "given-up" },
  now: number,
): Promise<void> {
  switch (then) {
    case "unchanged":
      return await diskSave(tx, row.id, { work: null, problem, due_at: null });
    case "attached":
      // Wanted again; its host hears of that.
      if (instance !== undefined) await instanceModifyRows(tx, [instance.row], {}, true);
      return await diskSave(tx, row.id, { work: null, problem, due_at: null });
    case "detach": {
      if (instance === undefined)
        return await diskSave(tx, row.id, { work: null, problem, instance_id: null, slot: null });
      await instanceModifyRows(tx, [instance.row], {}, true);
      const generation = await generationOf(tx, instance.row.id);
      return await diskSave(tx, row.id, {
        work: { is: "detach" },
        problem,
        generation,
        due_at: new Date(now + diskWorkMs),
      });
    }
    case "again": {
      if (job === undefined || row.work?.is !== "apply") return await diskSave(tx, row.id, { problem });
      const again = { zone: row.zone, hostId: job.host_id, subject: row.id, spec: job.spec };
      const jobId = await jobBegin(tx, again);
      return await diskSave(tx, row.id, { work: { ...row.work, jobId }, problem });
    }
    default:
      return unreachable(then);
  }
}

async function generationOf(tx: Tx, id: InstanceId): Promise<number> {
  const row = await tx.db.selectFrom("instance").select("generation").where("id", "=", id).executeTakeFirstOrThrow();
  return row.generation;
}

async function settleSnapshot(tx: Tx, id: SnapshotId): Promise<void> {
  const [row] = await snapshotLock(tx, [id]);
  if (row === undefined || row.state !== "CREATING" || row.job_id === null) return;
  const seen = (await jobRead(tx.db, row.job_id))?.seen ?? null;
  switch (seen?.is) {
    case undefined:
      return;
    case "waiting":
      if (row.problem !== seen.why) await snapshotSave(tx, id, { problem: seen.why });
      return;
    case "running":
      if (row.percent === seen.percent && row.problem === null) return;
      return await snapshotSave(tx, id, { percent: seen.percent, problem: null });
    case "done": {
      const bytes = seen.result["bytes"];
      const made = { state: "NORMAL" as const, percent: 100, problem: null, job_id: null };
      await snapshotSave(tx, id, { ...made, bytes: typeof bytes === "number" ? bytes : null });
      break;
    }
    case "failed":
      await snapshotSave(tx, id, { state: "FAILED", problem: seen.message, job_id: null });
      break;
    default:
      return unreachable(seen);
  }
  await jobEnd(tx, row.job_id);
  crashPoint("storage.snapshot.settled");
}
