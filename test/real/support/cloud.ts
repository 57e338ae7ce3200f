/** Short words for what tests of VStation say over and over, through the native API. */
import type { NativeClient } from "../../../src/api/native/client.ts";
import type { RouteInput } from "../../../src/api/native/routes.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { until } from "../../until.ts";
import { imageId, type TestVstation } from "./vstation.ts";

export type RunInput = Partial<NonNullable<RouteInput<"instanceRun">["request"]>>;
export type How = "soft" | "soft_first" | "hard";

export async function run(native: NativeClient, request: RunInput = {}): Promise<InstanceId[]> {
  const answer = await native.call("instanceRun", { request: { instanceType: "T1.SMALL1", imageId, ...request } });
  return answer.instanceIds;
}

export async function list(native: NativeClient, query: RouteInput<"instanceList">["query"] = {}) {
  return (await native.call("instanceList", { query })).instances;
}

export async function show(native: NativeClient, id: InstanceId) {
  return native.call("instanceGet", { params: { id } });
}

export async function stop(native: NativeClient, ids: InstanceId[], how: How = "hard") {
  return native.call("instanceStop", { request: { ids, how } });
}

export async function start(native: NativeClient, ids: InstanceId[]) {
  return native.call("instanceStart", { request: { ids } });
}

export async function reboot(native: NativeClient, ids: InstanceId[], how: How) {
  return native.call("instanceReboot", { request: { ids, how } });
}

export async function terminate(native: NativeClient, ids: InstanceId[]) {
  return native.call("instanceTerminate", { request: { ids } });
}

/** Waits until each of the instances is in this state with nothing under way. */
export async function inState(vstation: TestVstation, ids: readonly InstanceId[], state: string, ms = 30_000) {
  const { native } = vstation;
  const look = async () => {
    const all = await Promise.all(ids.map((id) => show(native, id)));
    return all.every((one) => one.state === state && one.latestOperation?.endedAt !== null) ? all : undefined;
  };
  return until(`${ids.join(", ")} ${state}`, look, ms);
}

/** Waits until none of the instances is listed any more. */
export async function areGone(vstation: TestVstation, ids: readonly InstanceId[]): Promise<void> {
  const { native } = vstation;
  await until(`${ids.join(", ")} gone`, async () => {
    const left = (await list(native, { limit: 500 })).filter(({ id }) => ids.includes(id));
    return left.length === 0 ? true : undefined;
  });
}

/** Terminates all that there is, and waits until it is gone. */
export async function endAll(vstation: TestVstation): Promise<void> {
  const ids = (await list(vstation.native)).map(({ id }) => id);
  if (ids.length > 0) await terminate(vstation.native, ids);
  await areGone(vstation, ids);
}
