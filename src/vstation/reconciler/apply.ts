/** Writes decisions of the pure reconciler down, many instances in one transaction. */
import { afterDecision, changes, isOrder, type Decision } from "../../core/decision.ts";
import { newId } from "../../lib/ids.ts";
import type { Tx } from "../store/database.ts";
import { disksLeaveHost, disksRelease } from "../store/disks.ts";
import { addressEnter, addressLetGo } from "../store/instance-address.ts";
import {
  instanceRelease,
  instanceSave,
  operationInsert,
  operationSave,
  stepInsert,
  type InstanceChangeRow,
  type LockedInstance,
  type NewOperation,
  type OperationEnd,
} from "../store/instances.ts";

export interface Work {
  one: LockedInstance;
  decision: Decision;
}

/** `now` in ms; the rows must be locked in this transaction. */
export async function apply(tx: Tx, work: readonly Work[], now: number): Promise<void> {
  const changed = work.filter(({ one, decision }) => changes(decision) || isDueChanged(one, decision));
  if (changed.length === 0) return;
  const ended = changed.filter(({ decision }) => decision.release === "everything").map(({ one }) => one.row);
  const leaving = changed.filter(({ decision }) => decision.release === "capacity").map(({ one }) => one.row);
  await disksRelease(
    tx,
    ended.map((row) => row.id),
  );
  await disksLeaveHost(
    tx,
    leaving.map((row) => row.id),
  );
  const entering = changed.filter(({ decision }) => decision.address === "enter").map(({ one }) => one);
  // The zone's row before the hosts' rows, as everywhere; see store/instances.ts.
  for (const zone of new Set(entering.map(({ row }) => row.zone))) {
    const here = entering.filter(({ row }) => row.zone === zone);
    await addressEnter(
      tx,
      zone,
      here.map(({ row, otherAddress }) => ({ id: row.id, otherAddress })),
    );
  }
  await addressLetGo(
    tx,
    changed.filter(({ decision }) => decision.address === "letGo").map(({ one }) => one.row.id),
  );
  for (const zone of new Set(ended.map((row) => row.zone))) {
    await instanceRelease(
      tx,
      zone,
      ended.filter((row) => row.zone === zone).map((row) => row.id),
    );
  }
  await instanceSave(tx, changed.map(instanceChange));
  await operationSave(tx, changed.flatMap(operationChange));
  await stepInsert(
    tx,
    changed.flatMap(({ one, decision }) =>
      decision.steps.flatMap((step) => {
        const operation = one.facts.operation;
        return operation === null ? [] : [{ operationId: operation.id, ...step }];
      }),
    ),
    now,
  );
  await operationInsert(tx, changed.flatMap(recovery), now);
  for (const { one, decision } of changed) {
    if (!changes(decision)) continue;
    tx.wake.event("instance", one.row.id);
    // One step at a time: what follows from this one is decided by the next look.
    tx.wake.instance(one.row.id);
  }
}

function isDueChanged({ row }: LockedInstance, { dueAt }: Decision): boolean {
  return (row.due_at?.getTime() ?? null) !== dueAt;
}

function instanceChange({ one, decision }: Work): InstanceChangeRow {
  const { row, facts } = one;
  const deleted = decision.release === "everything";
  const dueAt = deleted ? null : decision.dueAt;
  return { row, facts: afterDecision(facts, decision), dueAt, order: isOrder(decision), deleted };
}

function operationChange({ one, decision }: Work): OperationEnd[] {
  const operation = one.facts.operation;
  const { end, taken, deadline } = decision;
  if (operation === null || (end === null && !taken && deadline === null)) return [];
  return [
    {
      id: operation.id,
      state: end?.as ?? (taken ? "RUNNING" : operation.state),
      deadline: deadline ?? operation.deadline,
      error: end?.as === "FAILED" ? { code: end.code, message: end.message } : null,
    },
  ];
}

function recovery({ one, decision }: Work): NewOperation[] {
  const { recover } = decision;
  if (recover === null) return [];
  return [
    {
      id: newId("operation"),
      kind: "instance.recover",
      instance_id: one.row.id,
      account_id: one.row.account_id,
      request_id: "",
      how: null,
      deadline: recover.deadline,
      failed: recover.failed,
      steps: [{ name: "guest.ended", note: endedNote(one) }],
    },
  ];
}

function endedNote({ facts }: LockedInstance): string | null {
  const phase = facts.seen?.phase;
  return phase?.is === "exited" ? `start ${phase.incarnation}: ${phase.message}` : null;
}
