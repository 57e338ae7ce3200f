/** Instances: the thin part between the wire and the use cases. */
import { unreachable } from "../../../lib/errors.ts";
import type { InstanceChange, InstanceQuery } from "../../cloud.ts";
import { instanceAnswer } from "../answers.ts";
import { defined, oneOf, onlyZone, type Call, type Calls } from "../call.ts";

export const instanceCalls: Calls<
  | "instanceList"
  | "instanceGet"
  | "instanceRun"
  | "instanceModify"
  | "instanceStart"
  | "instanceStop"
  | "instanceReboot"
  | "instanceResize"
  | "instanceReinstall"
  | "instanceTerminate"
  | "instanceConsoleLog"
> = {
  async instanceList({ cloud }, { query, operator }) {
    const { offset, limit } = query;
    const { total, items } = await cloud.instances.list(operator, queryOf(query), { offset, limit });
    return { total, instances: items.map(instanceAnswer) };
  },

  async instanceGet({ cloud }, { params, operator }) {
    return instanceAnswer(await oneOf("instance", params.id, cloud.instances, operator));
  },

  async instanceRun({ cloud }, { request, owner }) {
    const { subnetId, ips, publicMbps, ...rest } = request;
    return await cloud.instances.run(owner, {
      ...rest,
      login: null,
      network: subnetId === null ? null : { vpcId: null, subnetId },
      addresses: ips,
      publicAddress: publicMbps === null ? null : { bandwidthMbps: publicMbps },
      zone: request.zone ?? onlyZone(cloud),
      minCount: request.minCount ?? request.count,
      dataDisks: request.dataDisks.map((disk) => ({ ...disk, limits: { bytes: null, iops: null } })),
    });
  },

  async instanceModify({ cloud }, { params, request, operator }) {
    if ("securityGroupIds" in request) {
      await cloud.network.securityGroups.setGroups(operator, [params.id], request.securityGroupIds);
    } else {
      await cloud.instances.modify(operator, [params.id], changeOf(request));
    }
    return instanceAnswer(await oneOf("instance", params.id, cloud.instances, operator));
  },

  async instanceStart({ cloud }, { request, operator }) {
    return { operationIds: await cloud.instances.start(operator, request.ids) };
  },

  async instanceStop({ cloud }, { request, operator }) {
    return { operationIds: await cloud.instances.stop(operator, request.ids, request.how) };
  },

  async instanceReboot({ cloud }, { request, operator }) {
    return { operationIds: await cloud.instances.reboot(operator, request.ids, request.how) };
  },

  async instanceResize({ cloud }, { request, operator }) {
    const { id, instanceType, mayStop } = request;
    return { operationIds: await cloud.instances.resize(operator, id, { instanceType, mayStop }) };
  },

  async instanceReinstall({ cloud }, { params, request, operator }) {
    return { operationIds: [await cloud.instances.reinstall(operator, params.id, request)] };
  },

  async instanceTerminate({ cloud }, { request, operator }) {
    return { operationIds: await cloud.instances.terminate(operator, request.ids) };
  },

  async instanceConsoleLog({ cloud }, { params, query, operator }) {
    const { data, truncated } = await cloud.instances.consoleLog(operator, params.id, query.bytes);
    return { data: data.toString("base64"), truncated };
  },
};

function queryOf(query: Call<"instanceList">["query"]): InstanceQuery {
  const pairs = (query.tag ?? []).map((text) => {
    const at = text.indexOf("=");
    return at < 0 ? { key: text } : { key: text.slice(0, at), value: text.slice(at + 1) };
  });
  const tags: Record<string, string[]> = {};
  for (const { key, value } of pairs) if (value !== undefined) (tags[key] ??= []).push(value);
  const tagKeys = pairs.filter((pair) => pair.value === undefined).map(({ key }) => key);
  return defined({
    ids: query.id,
    states: query.state,
    names: query.name,
    zones: query.zone,
    instanceTypes: query.instanceType,
    imageIds: query.imageId,
    hostIds: query.hostId,
    groupIds: query.groupId,
    vpcIds: query.vpcId,
    subnetIds: query.subnetId,
    securityGroupIds: query.securityGroupId,
    uuids: query.uuid,
    ips: query.ip,
    tags: Object.keys(tags).length === 0 ? undefined : tags,
    tagKeys: tagKeys.length === 0 ? undefined : tagKeys,
  });
}

type Change = Exclude<Call<"instanceModify">["request"], { securityGroupIds: unknown }>;

function changeOf(request: Change): InstanceChange {
  if ("name" in request) return { kind: "name", name: request.name };
  if ("userData" in request) return { kind: "userData", userData: request.userData };
  if ("terminationProtection" in request) return { kind: "terminationProtection", on: request.terminationProtection };
  if ("restartPolicy" in request) return { kind: "restartPolicy", policy: request.restartPolicy };
  return unreachable(request);
}
