/** The use cases of instances, put together. */
import { failure } from "../../core/failure-codes.ts";
import type { AnyCaller, InstanceView, Instances } from "../cloud.ts";
import { instanceList } from "../store/instance-list.ts";
import { operationLatest } from "../store/operations.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { AppContext } from "./context.ts";
import { consoleLog, consoleOpen } from "./instance-console.ts";
import { instanceModify } from "./instance-modify.ts";
import { instancePassword } from "./instance-password.ts";
import { instancePower } from "./instance-power.ts";
import { instanceRenumber } from "./instance-renumber.ts";
import { instanceResize } from "./instance-resize.ts";
import { instanceReinstall } from "./instance-reinstall.ts";
import { instanceRun } from "./instance-run.ts";
import { instanceView } from "./instance-view.ts";
import { operationView } from "./operations.ts";

export function instances(context: AppContext): Instances {
  const { store } = context;
  // A state of one moment with the operation of another would tell a client that waits for its end of an end too early.
  const list: Instances["list"] = (caller, query, page) =>
    store.snapshot(async (db) => {
      const { total, items } = await instanceList(db, caller.accountId, query, page);
      const latest = await operationLatest(
        db,
        items.map(({ row }) => row.id),
        caller.accountId === "any" ? "all" : "owner",
      );
      const views = items.map((item) => {
        const operation = latest.get(item.row.id);
        return instanceView(item, operation === undefined ? null : operationView(operation));
      });
      return { total, items: views };
    });
  const one = async (caller: AnyCaller, id: InstanceId): Promise<InstanceView> => {
    const { items } = await list(caller, { ids: [id] }, { offset: 0, limit: 1 });
    const found = items[0];
    if (found !== undefined) return found;
    throw failure("InstanceNotFound", `there is no instance ${id}`, { detail: { instanceId: id } });
  };
  return {
    list,
    run: instanceRun(context),
    start: (caller, ids) => instancePower(store, caller, ids, { action: "start" }),
    stop: (caller, ids, how) => instancePower(store, caller, ids, { action: "stop", how }),
    reboot: (caller, ids, how) => instancePower(store, caller, ids, { action: "reboot", how }),
    resize: (caller, id, to) => instanceResize(context, caller, id, to),
    renumber: (caller, ids, request) => instanceRenumber(context, caller, ids, request),
    terminate: (caller, ids) => instancePower(store, caller, ids, { action: "terminate" }),
    reinstall: (caller, id, request) => instanceReinstall(context, caller, id, request),
    modify: (caller, ids, change) => instanceModify(store, caller, ids, change),
    setPassword: instancePassword(store),
    consoleLog: async (caller, id, bytes) => consoleLog(context, await one(caller, id), bytes),
    consoleOpen: async (caller, id) => consoleOpen(context, await one(caller, id)),
  };
}
