/** The caller's instances with these ids, every one of them or a failure. */
import { failure } from "../../core/failure-codes.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { InstanceView } from "../cloud.ts";
import type { Context } from "./action.ts";

export async function instancesOf({ cloud, caller }: Context, ids: InstanceId[]): Promise<InstanceView[]> {
  const { items } = await cloud.instances.list(caller, { ids }, { offset: 0, limit: ids.length });
  const missing = ids.find((id) => !items.some((item) => item.id === id));
  if (missing === undefined) return items;
  throw failure("InstanceNotFound", `there is no instance ${missing}`, { detail: { instanceId: missing } });
}
