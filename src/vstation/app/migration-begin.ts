/**
 * What begins a move, or lets it wait: the checks under the locks, the order to both hosts, and the request of which it is a try. Used by
 * whoever asks (instance-migrate.ts) and by the queue when the time of a waiting one has come.
 *
 * What can race: anything that changes the instance, its disks or the target between the first look and the row lock; so the verdict is
 * made again under the lock, and that one counts. A target that is lost or cordoned right after is no refusal: the move then fails.
 */
import { moveLimit } from "../../core/deadlines.ts";
import type { DiskUsage } from "../../core/disk.ts";
import { failure } from "../../core/failure-codes.ts";
import { mayFetch, type MigrationPolicy } from "../../core/migration/policy.ts";
import { decideMigrate } from "../../core/request-queue.ts";
import type { Failure } from "../../lib/errors.ts";
import { newId, type HostId, type InstanceId, type MigrationId, type OperationId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { Reader, Tx } from "../store/database.ts";
import { diskLock, disksOf } from "../store/disks.ts";
import { migrationInsert, migrationOf } from "../store/guest-migrations.ts";
import { hostRead } from "../store/hosts.ts";
import { operationInsert, type LockedInstance } from "../store/instances.ts";
import { jobsOnDisks } from "../store/jobs.ts";
import type { InstanceRow } from "../store/schema.ts";
import type { MigrationRow } from "../store/schema-migration.ts";
import { busyWith, diskIsBusy } from "./disk-checks.ts";
import { denied, lockAll, situationOf } from "./instance-power.ts";

/** The instance under its lock. Throws where it, its disks or its host do not let it move. */
async function lookAtMovable(tx: Tx, caller: AnyCaller, id: InstanceId): Promise<LockedInstance> {
  const one = await lockOne(tx, caller, id);
  for (const check of objections) for (const found of await check(tx, one)) throw found;
  return one;
}

/** Before a host is chosen. Throws what speaks against the move; else what room is looked for by. */
export async function lookFirst(
  tx: Tx,
  caller: AnyCaller,
  zone: string,
  id: InstanceId,
  to: HostId | null,
): Promise<{ row: InstanceRow; dataDiskGiB: number }> {
  const one = await lookAtMovable(tx, caller, id);
  if (to !== null) await refuseTarget(tx.db, zone, one, to);
  return { row: one.row, dataDiskGiB: await localDataGiB(tx.db, id) };
}

/** When one was chosen for so much of its data. */
export async function lookAgain(
  tx: Tx,
  caller: AnyCaller,
  id: InstanceId,
  dataDiskGiB: number,
): Promise<LockedInstance> {
  const one = await lookAtMovable(tx, caller, id);
  if ((await localDataGiB(tx.db, id)) > dataDiskGiB) throw diskCame(id);
  return one;
}

export async function lockOne(tx: Tx, caller: AnyCaller, id: InstanceId): Promise<LockedInstance> {
  const [one] = await lockAll(tx, caller, [id]);
  if (one === undefined) throw new Error("a locked instance is not there");
  return one;
}

/** What speaks against moving it, wherever to. Each says all that it finds; a plan lists them, an order stops at the first. */
export const objections: readonly ((tx: Tx, one: LockedInstance) => Promise<Failure[]>)[] = [
  async (_tx, one) => {
    const verdict = decideMigrate(situationOf(one));
    return verdict.is === "deny" ? [denied(one.row.id, { action: "migrate" }, verdict)] : [];
  },
  async (_tx, { row, hostConnected }) =>
    hostConnected || row.host_id === null
      ? []
      : [unreachableHost(row.host_id, "its guest cannot be moved from there now")],
  async (tx, { row: { id } }) => {
    const before = await migrationOf(tx.db, id);
    if (before === undefined) return [];
    const hostId = before.source_over ? before.target_host : before.source_host;
    const message = `an earlier move of instance ${id} (${before.id}) is not cleared up at host ${hostId} yet; ask again when it is`;
    return [failure("MigrationUnfinished", message, { detail: { migrationId: before.id, hostId } })];
  },
  diskObjections,
];

/** What speaks against moving it by this policy, wherever to. What the hosts know of that, they say (core/migration/preflight.ts). */
export async function policyObjections(db: Reader, id: InstanceId, policy: MigrationPolicy): Promise<Failure[]> {
  if (!mayFetch(policy) || (await localDisksGiB(db, id)) === 0) return [];
  const message = `disks of instance ${id} lie on its host, and are not copied by the policy ${policy}`;
  return [failure("MigrationPolicyUnavailable", message, { detail: { policy } })];
}

async function diskObjections(tx: Tx, { row: { id: instanceId } }: LockedInstance): Promise<Failure[]> {
  const ids = (await disksOf(tx.db, [instanceId])).map((disk) => disk.id);
  const disks = await diskLock(tx, ids);
  const found: Failure[] = [];
  for (const disk of disks) {
    const busy = await busyWith(tx, disk, "moved");
    if (busy !== null) found.push(busy);
  }
  const [busy] = await jobsOnDisks(tx.db, ids);
  if (busy !== undefined) found.push(diskIsBusy(busy, "moved", "being copied"));
  return found;
}

/** What its data disks take of its host's own storage, and of the target's once they are there. */
export async function localDataGiB(db: Reader, instanceId: InstanceId): Promise<number> {
  return await localDisksGiB(db, instanceId, "DATA_DISK");
}

/** Those of one usage, or all. */
async function localDisksGiB(db: Reader, instanceId: InstanceId, only?: DiskUsage): Promise<number> {
  const disks = await disksOf(db, [instanceId]);
  const local = disks.filter(({ usage, driver }) => driver === "local" && (only === undefined || usage === only));
  return local.reduce((sum, disk) => sum + disk.size_gib, 0);
}

function diskCame(instanceId: InstanceId): Error {
  const message = `a disk of instance ${instanceId} came or grew while a host was chosen; ask again`;
  return failure("DiskBusy", message, { detail: { instanceId } });
}

async function refuseTarget(db: Reader, zone: string, one: LockedInstance, to: HostId): Promise<void> {
  for (const found of await targetObjections(db, zone, one, to)) throw found;
}

/** What speaks against this host as its target. */
export async function targetObjections(
  db: Reader,
  zone: string,
  { row }: LockedInstance,
  to: HostId,
): Promise<Failure[]> {
  const [found] = await hostRead(db, { id: to, zone });
  if (found === undefined || found.row.removed_at !== null) return [failure("HostNotFound", `there is no host ${to}`)];
  const detail = { hostId: to };
  if (to === row.host_id)
    return [failure("MigrationSameHost", `instance ${row.id} is on host ${to} already`, { detail })];
  const cordoned = `host ${to} is cordoned: it takes no new instances until it is uncordoned`;
  const broken = found.row.readiness?.checks.find(({ level }) => level === "error");
  return [
    ...(found.row.cordoned ? [failure("HostCordoned", cordoned, { detail })] : []),
    ...(found.connected ? [] : [unreachableHost(to, "nothing can be moved there now")]),
    ...(broken === undefined
      ? []
      : [failure("HostNotReady", `host ${to} is not ready: ${broken.message}`, { detail })]),
  ];
}

function unreachableHost(hostId: HostId, what: string): Failure {
  return failure("HostUnreachable", `host ${hostId} is out of reach: ${what}`, { detail: { hostId } });
}

/** How it is gone about, as its source is told. */
type MovePlan = Pick<MigrationRow, "policy" | "ceiling_ms">;

/** Both hosts get their half. */
export async function orderMigration(
  tx: Tx,
  caller: AnyCaller,
  { row }: LockedInstance,
  move: { id: MigrationId; target: HostId; requestId: MigrationId; attempt: number; plan: MovePlan },
): Promise<OperationId> {
  const { id: instanceId, host_id: source } = row;
  if (source === null) throw new Error("a running instance is on no host");
  const now = Date.now();
  const localGiB = await localDisksGiB(tx.db, instanceId);
  const deadline = now + moveLimit(row.memory_mib / 1_024 + localGiB);
  const id = newId("operation");
  await operationInsert(
    tx,
    [
      {
        id,
        kind: "instance.migrate",
        instance_id: instanceId,
        account_id: row.account_id,
        request_id: caller.requestId,
        how: null,
        deadline,
        failed: null,
        steps: [{ name: "accepted", note: `${move.id}: ${source} to ${move.target}` }],
      },
    ],
    now,
  );
  await migrationInsert(tx, {
    id: move.id,
    zone: row.zone,
    instance_id: instanceId,
    operation_id: id,
    source_host: source,
    target_host: move.target,
    epoch: row.epoch + 1,
    incarnation: row.incarnation,
    resets: row.resets,
    request_id: move.requestId,
    attempt: move.attempt,
    ...move.plan,
    deadline: new Date(deadline),
  });
  tx.wake.event("instance", instanceId);
  return id;
}
