/** Between rows and the facts that the pure rules in src/core work on. */
import type { Instance, OpenOperation, OtherAddress, WantedPower } from "../../core/wanted.ts";
import { unreachable } from "../../lib/errors.ts";
import type { InstanceRow, OperationRow } from "./schema.ts";

export interface OpenOperationRow extends Pick<OperationRow, "id" | "kind" | "how" | "deadline" | "state"> {
  step_name: string | null;
  step_note: string | null;
}

export function powerOf(row: Pick<InstanceRow, "power" | "stop_how" | "gone_for">): WantedPower {
  switch (row.power) {
    case "running":
      return { is: "running" };
    case "stopped":
      return { is: "stopped", how: row.stop_how ?? "hard" };
    case "gone":
      return { is: "gone", purpose: row.gone_for ?? "terminate" };
    default:
      return unreachable(row.power);
  }
}

export function powerColumns(power: WantedPower): Pick<InstanceRow, "power" | "stop_how" | "gone_for"> {
  switch (power.is) {
    case "running":
      return { power: "running", stop_how: null, gone_for: null };
    case "stopped":
      return { power: "stopped", stop_how: power.how, gone_for: null };
    case "gone":
      return { power: "gone", stop_how: null, gone_for: power.purpose };
    default:
      return unreachable(power);
  }
}

/** Reports of an earlier placement say nothing about this one. */
export function factsOf(
  row: InstanceRow,
  otherAddress: { is: OtherAddress } | null,
  open: OpenOperationRow | undefined,
): Instance {
  const current = row.seen !== null && row.seen_epoch === row.epoch;
  return {
    power: powerOf(row),
    incarnation: row.incarnation,
    resets: row.resets,
    epoch: row.epoch,
    generation: row.generation,
    hostId: row.host_id,
    seen: current && row.seen ? { epoch: row.seen_epoch, generation: row.seen_generation, phase: row.seen } : null,
    restartPolicy: row.restart_policy,
    launched: row.launched,
    runningSince: row.running_since?.getTime() ?? null,
    quickEnds: row.quick_ends,
    notBefore: row.not_before?.getTime() ?? null,
    triedHosts: row.tried_hosts,
    failure: row.failure,
    otherAddress: otherAddress?.is ?? null,
    operation: open === undefined ? null : operationOf(open),
  };
}

function operationOf(open: OpenOperationRow): OpenOperation {
  const state = open.state === "PENDING" ? "PENDING" : "RUNNING";
  const lastStep = open.step_name === null ? null : { name: open.step_name, note: open.step_note };
  return { id: open.id, kind: open.kind, state, how: open.how, deadline: open.deadline.getTime(), lastStep };
}
