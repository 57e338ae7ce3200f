/** Moves of running guests as operators see them, and the end of one that is not wanted any more. */
import { failure } from "../../core/failure-codes.ts";
import { isHalved, phaseOf } from "../../core/migration/migration.ts";
import { pauseGrows } from "../../core/migration/policy.ts";
import type { MigrationId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { MigrationView, Migrations } from "../cloud/migrations.ts";
import type { Reader, Store } from "../store/database.ts";
import { storyOf } from "../store/guest-migration-story.ts";
import { migrationCancel, migrationList, migrationLock, type MigrationRead } from "../store/guest-migrations.ts";
import { instanceLock } from "../store/instances.ts";
import { requestEnd, requestLast, requestLock } from "../store/migration-queue.ts";
import type { AppContext } from "./context.ts";
import { instanceMigrate } from "./instance-migrate.ts";
import { migrationPlan } from "./migration-plan.ts";

export function migrations(context: AppContext): Migrations {
  const { store } = context;
  return {
    begin: instanceMigrate(context),
    plan: migrationPlan(context),

    async list(caller, query, page) {
      const { total, items } = await store.read((db) => migrationList(db, caller.accountId, query, page));
      return { total, items: items.map(migrationView) };
    },

    async story(caller, id) {
      return await store.read(async (db) => storyOf(db, (await migrationFound(db, caller, id)).id));
    },

    async cancel(caller, id) {
      await callOff(store, await store.read((db) => migrationFound(db, caller, id)));
    },
  };
}

async function migrationFound(db: Reader, caller: AnyCaller, id: MigrationId): Promise<MigrationRead> {
  const [found] = (await migrationList(db, caller.accountId, { ids: [id] }, null)).items;
  if (found === undefined) throw failure("MigrationNotFound", `there is no migration ${id}`);
  return found;
}

/** Throws MigrationTooLate when its end is decided. */
export async function migrationCallOff(store: Store, id: MigrationId): Promise<void> {
  const { items } = await store.read((db) => migrationList(db, "any", { ids: [id] }, null));
  const [found] = items;
  if (found !== undefined) await callOff(store, found);
}

async function callOff(store: Store, { id, instance_id, request_id }: MigrationRead): Promise<void> {
  await store.transaction(async (tx) => {
    // The instance before its migration, as everywhere; with it goes the operation, which ends under this lock.
    const [instance] = await instanceLock(tx, [instance_id]);
    const request = await requestLock(tx, instance_id);
    // Between two tries it is the next one that was meant.
    const isWaiting = request !== undefined && !request.begun;
    if (isWaiting && (request.migration_id === id || request.id === request_id))
      return requestEnd(tx, request, calledOff);
    const locked = await migrationLock(tx, id);
    const operation = instance?.facts.operation;
    if (locked === undefined || locked.row.moved || operation?.id !== locked.row.operation_id) throw tooLate(id);
    const { seen_source: source, seen_target: target } = locked.row;
    if (source?.is === "left" || target?.is === "arrived") throw tooLate(id);
    if (isHalved({ source, target })) throw tooLateHalved(id);
    if (request?.migration_id === id) await requestLast(tx, request);
    if (locked.row.wish === "go") await migrationCancel(tx, locked.row);
  });
}

function tooLate(id: MigrationId): Error {
  const message = `it is too late: where the guest of migration ${id} goes on is decided; \`vstation migration show ${id}\` tells where`;
  return failure("MigrationTooLate", message, { detail: { migrationId: id } });
}

function tooLateHalved(id: MigrationId): Error {
  const message = `it is too late: the guest of migration ${id} runs at the target already and fetches the rest of its memory, so neither host can give it up`;
  return failure("MigrationTooLate", message, { detail: { migrationId: id } });
}

function migrationView(row: MigrationRead): MigrationView {
  const { operation_id, request } = row;
  const isQueued = operation_id === null;
  const over = row.ended_at !== null;
  // One that never began ended with its request.
  const state = row.operation_state ?? (over ? "FAILED" : "PENDING");
  const { code, message } = isQueued ? (request ?? none) : { code: row.error_code, message: row.error_message };
  const ended = state === "SUCCEEDED" || state === "FAILED";
  const reason = code === null ? null : { code, message: message ?? "" };
  return {
    id: row.id,
    instanceId: row.instance_id,
    accountId: row.account_id,
    operationId: row.operation_id,
    sourceHostId: row.source_host,
    targetHostId: row.target_host,
    phase:
      isQueued && !over
        ? "queued"
        : phaseOf({ over, moved: row.moved, ended, source: row.seen_source, target: row.seen_target }),
    state,
    error: ended ? reason : null,
    cancelling: row.wish === "cancel" && !ended,
    policy: row.policy,
    ceilingMs: pauseGrows(row.policy) ? row.ceiling_ms : null,
    moved: row.moved,
    source: row.seen_source,
    target: row.seen_target,
    request: request && {
      askedBy: request.asked_by,
      attempt: row.attempt,
      tries: request.tries,
      next: request.next_id,
      waitsFor: isQueued && !over ? reason : null,
      notBefore: isQueued && !over ? new Date(request.not_before) : null,
    },
    createdAt: row.created_at,
    deadline: row.deadline,
    endedAt: row.ended_at,
  };
}

const calledOff = { code: "MigrationCancelled", message: "it was called off before it had begun" };

const none = { code: null, message: null };
