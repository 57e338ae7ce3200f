/** Operations as clients see them. */
import { failure } from "../../core/failure-codes.ts";
import type { OperationView, Operations } from "../cloud.ts";
import { operationList, type OperationRead } from "../store/operations.ts";
import type { AppContext } from "./context.ts";

export function operationView({ row, steps }: OperationRead): OperationView {
  return {
    id: row.id,
    kind: row.kind,
    instanceId: row.instance_id,
    accountId: row.account_id,
    requestId: row.request_id,
    state: row.state,
    error: row.error_code === null ? null : { code: row.error_code, message: row.error_message ?? "" },
    createdAt: row.created_at,
    endedAt: row.ended_at,
    deadline: row.deadline,
    steps,
  };
}

export function operations({ store }: AppContext): Operations {
  const ownerOf = (caller: Parameters<Operations["list"]>[0]) =>
    caller.accountId === "any" ? {} : { accountId: caller.accountId };
  return {
    async list(caller, query, page) {
      const { total, items } = await store.read((db) => operationList(db, { ...query, ...ownerOf(caller) }, page));
      return { total, items: items.map(operationView) };
    },
    async get(caller, id) {
      const filter = { ids: [id], ...ownerOf(caller) };
      const { items } = await store.read((db) => operationList(db, filter, { offset: 0, limit: 1 }));
      const found = items[0];
      if (found === undefined) throw failure("OperationNotFound", `there is no operation ${id}`);
      return operationView(found);
    },
  };
}
