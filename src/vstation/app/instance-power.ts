/**
 * Start, stop, reboot, terminate: all or nothing over the ids of one call. The queue's rules (core/request-queue.ts) judge each
 * instance under its row lock; what is accepted is ordered, and remembered by an operation, in the same transaction.
 */
import { operationLimit } from "../../core/deadlines.ts";
import { failure } from "../../core/failure-codes.ts";
import { instanceState } from "../../core/instance-state.ts";
import type { InstanceAction, OperationKind, Verdict } from "../../core/instance.ts";
import { ordered } from "../../core/order.ts";
import { decideRequest, type PowerRequest, type Situation } from "../../core/request-queue.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { unreachable, type Failure } from "../../lib/errors.ts";
import { newId, type InstanceId, type OperationId } from "../../lib/ids.ts";
import type { AnyCaller } from "../cloud.ts";
import type { Store, Tx } from "../store/database.ts";
import {
  instanceLock,
  instanceSave,
  operationInsert,
  operationSave,
  type InstanceChangeRow,
  type LockedInstance,
  type NewOperation,
  type OperationEnd,
} from "../store/instances.ts";

/** One operation per id, in the order of the ids; for what was already wanted, the operation that is under way. */
export async function instancePower(
  store: Store,
  caller: AnyCaller,
  ids: readonly InstanceId[],
  request: PowerRequest,
): Promise<OperationId[]> {
  return store.transaction(async (tx) => {
    const locked = await lockAll(tx, caller, ids);
    const verdicts = locked.map((one) => ({ one, verdict: verdictOn(one, request) }));
    for (const { one, verdict } of verdicts) {
      if (verdict.is === "deny") throw denied(one.row.id, request, verdict);
    }
    const operations = await order(
      tx,
      caller,
      request,
      verdicts.flatMap(({ one, verdict }) => (verdict.is === "accept" ? [one] : [])),
    );
    crashPoint("app.power.ordered");
    const byInstance = new Map(operations.map(({ id, instance_id }) => [instance_id, id]));
    const open = new Map(locked.map(({ row, facts }) => [row.id, facts.operation?.id]));
    return ids.flatMap((id) => byInstance.get(id) ?? open.get(id) ?? []);
  });
}

/** Locks every instance of the call; one that is not the caller's own is not found. */
export async function lockAll(tx: Tx, caller: AnyCaller, ids: readonly InstanceId[]): Promise<LockedInstance[]> {
  const wanted = [...new Set(ids)];
  const owner = caller.accountId === "any" ? {} : { accountId: caller.accountId };
  const locked = await instanceLock(tx, wanted, owner);
  const found = new Set(locked.map(({ row }) => row.id));
  const missing = wanted.find((id) => !found.has(id));
  if (missing !== undefined) {
    throw failure("InstanceNotFound", `there is no instance ${missing}`, { detail: { instanceId: missing } });
  }
  return locked;
}

export function stateOf({ facts }: LockedInstance) {
  return instanceState({
    power: facts.power,
    seen: facts.seen?.phase.is ?? null,
    open: facts.operation?.kind ?? null,
    restartPolicy: facts.restartPolicy,
  });
}

export function situationOf(one: LockedInstance): Situation {
  const { row, facts } = one;
  return {
    state: stateOf(one),
    open: facts.operation && { kind: facts.operation.kind, how: facts.operation.how },
    terminationProtection: row.termination_protection,
  };
}

export function verdictOn(one: LockedInstance, request: PowerRequest): Verdict {
  return decideRequest(request, situationOf(one));
}

export function denied(
  instanceId: InstanceId,
  request: { action: InstanceAction },
  verdict: Verdict & { is: "deny" },
): Failure {
  switch (verdict.reason) {
    case "wrong_state":
      return failure(
        "WrongState",
        `instance ${instanceId} is ${verdict.state}: ${request.action} is not possible now`,
        {
          detail: { state: verdict.state, action: request.action, instanceId },
        },
      );
    case "must_stop":
      return failure(
        "MustStop",
        `instance ${instanceId} runs: for ${request.action} it would have to be stopped and started again`,
        { detail: { instanceId } },
      );
    case "operation_in_progress":
      return failure("OperationInProgress", `instance ${instanceId} has ${verdict.operation} in progress`, {
        detail: { operation: verdict.operation, instanceId },
      });
    case "protected":
      return failure("Protected", `instance ${instanceId} is protected from termination`, { detail: { instanceId } });
    default:
      return unreachable(verdict);
  }
}

/** Nothing of an instance changes its place, its disks or its machine while it is on its way between two hosts. */
export function refuseMoving({ row, facts }: LockedInstance): void {
  const kind = facts.operation?.kind;
  if (kind !== "instance.migrate") return;
  throw denied(row.id, { action: "migrate" }, { is: "deny", reason: "operation_in_progress", operation: kind });
}

/**
 * For a change that a guest takes in when it starts: those that run, which are started anew afterwards ({@link restart}). Throws
 * WrongState for one that is neither stopped nor, with `force`, running, and OperationInProgress for one that is busy.
 */
export function checkAtRest(locked: readonly LockedInstance[], force: boolean): LockedInstance[] {
  return locked.filter((one) => {
    const state = stateOf(one);
    const instanceId = one.row.id;
    if (state === "STOPPED") return false;
    if (state === "RUNNING" && force) return true;
    throw failure("WrongState", `instance ${instanceId} is ${state}: stop it first`, {
      detail: { state, action: "modify", instanceId },
    });
  });
}

/** Stops running guests, softly at first, and starts them again, under one operation each. */
export async function restart(tx: Tx, caller: AnyCaller, running: readonly LockedInstance[]): Promise<void> {
  if (running.length === 0) return;
  // What was written of them meanwhile moved their generation on: they are read again, under the lock that is held.
  const fresh = await instanceLock(
    tx,
    running.map(({ row }) => row.id),
  );
  for (const one of fresh) refuseMoving(one);
  await order(tx, caller, { action: "reboot", how: "soft_first" }, fresh);
}

const kinds = {
  start: "instance.start",
  stop: "instance.stop",
  reboot: "instance.reboot",
  terminate: "instance.terminate",
  reinstall: "instance.reinstall",
} as const satisfies Record<PowerRequest["action"], OperationKind>;

async function order(
  tx: Tx,
  caller: AnyCaller,
  request: PowerRequest,
  accepted: readonly LockedInstance[],
): Promise<NewOperation[]> {
  const now = Date.now();
  const how = request.action === "stop" || request.action === "reboot" ? request.how : null;
  const kind = kinds[request.action];
  const deadline = now + operationLimit(kind, how);
  const superseded = accepted.flatMap(({ facts }): OperationEnd[] =>
    facts.operation === null
      ? []
      : [
          {
            id: facts.operation.id,
            state: "FAILED",
            deadline: facts.operation.deadline,
            error: { code: "Superseded", message: `a later request (${request.action}) took its place` },
          },
        ],
  );
  const changes = accepted.map(({ row, facts }): InstanceChangeRow => {
    const next = { ...facts, ...ordered(facts, request) };
    return { row, facts: next, dueAt: deadline, order: true, deleted: false };
  });
  const operations = accepted.map(({ row }): NewOperation => {
    const { id: instance_id, account_id } = row;
    const steps = [{ name: "accepted", note: null }];
    const id = newId("operation");
    return { id, kind, instance_id, account_id, request_id: caller.requestId, how, deadline, failed: null, steps };
  });
  await instanceSave(tx, changes);
  await operationSave(tx, superseded);
  await operationInsert(tx, operations, now);
  for (const { row } of accepted) {
    tx.wake.event("instance", row.id);
    tx.wake.instance(row.id);
  }
  return operations;
}
