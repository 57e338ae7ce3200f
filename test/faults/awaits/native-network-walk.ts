/** A network's life by the native API, as the command line uses it, beside a guest that runs: every change of it, once. */
import type { LabSession } from "../../../bench/lab-session.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { expectThat } from "../../until.ts";
import { ask, insist } from "../requests.ts";

export async function nativeNetwork(lab: LabSession, instanceId: InstanceId, tag: string): Promise<void> {
  await vpcLife(lab, tag);
  await groupLife(lab, instanceId, tag);
  await addressLife(lab, instanceId, tag);
}

async function vpcLife(lab: LabSession, tag: string): Promise<void> {
  const { native } = lab.cloud;
  const query = { name: [tag] };
  const { id: vpcId } = await made(
    async () => (await native.call("vpcList", { query })).vpcs,
    () => native.call("vpcCreate", { request: { name: tag, cidr: "10.9.0.0/16" } }),
  );
  const { id: subnetId } = await made(
    async () => (await native.call("subnetList", { query })).subnets,
    () => native.call("subnetCreate", { request: { vpcId, name: tag, cidr: "10.9.1.0/24" } }),
  );
  const { id: natGatewayId } = await made(
    async () => (await native.call("natGatewayList", { query })).natGateways,
    () => native.call("natGatewayCreate", { request: { vpcId, name: tag } }),
  );
  const tables = async () => (await native.call("routeTableList", { query })).routeTables;
  const { id: routeTableId } = await made(tables, () =>
    native.call("routeTableCreate", { request: { vpcId, name: tag } }),
  );
  const name = `${tag}-renamed`;
  await insist(() => native.call("vpcModify", { params: { id: vpcId }, request: { name } }));
  await insist(() => native.call("subnetModify", { params: { id: subnetId }, request: { name } }));
  await insist(() => native.call("routeTableModify", { params: { id: routeTableId }, request: { name } }));
  await insist(() => native.call("routeTableModify", { params: { id: routeTableId }, request: { natGatewayId } }));
  await insist(() => native.call("subnetModify", { params: { id: subnetId }, request: { routeTableId } }));
  const [table] = await insist(tables);
  expectThat(
    table?.natGatewayId === natGatewayId && table.subnetIds.includes(subnetId),
    `no way out of the subnet: ${JSON.stringify(table)}`,
  );
  await ask(() => native.call("subnetDelete", { params: { id: subnetId } }));
  await insist(() =>
    native.call("routeTableModify", { params: { id: routeTableId }, request: { natGatewayId: null } }),
  );
  await ask(() => native.call("routeTableDelete", { params: { id: routeTableId } }));
  await ask(() => native.call("natGatewayDelete", { params: { id: natGatewayId } }));
  await ask(() => native.call("vpcDelete", { params: { id: vpcId } }));
  expectThat((await insist(() => native.call("vpcList", { query }))).total === 0, "a VPC that was deleted is there");
}

async function groupLife(lab: LabSession, instanceId: InstanceId, tag: string): Promise<void> {
  const { native } = lab.cloud;
  const { id } = await made(
    async () => (await native.call("securityGroupList", { query: { name: [tag] } })).securityGroups,
    () => native.call("securityGroupCreate", { request: { name: tag } }),
  );
  const params = { id };
  const rule = { action: "accept" as const, protocol: "icmp" as const, peer: { securityGroupId: id } };
  const request = { direction: "ingress" as const, rules: [rule] };
  await insist(() => native.call("securityGroupModify", { params, request: { description: "walked" } }));
  await ask(() => native.call("securityGroupAddRules", { params, request }));
  // Behind the groups that it has, whose rules decide first: the guest goes on answering.
  const { securityGroupIds } = await insist(() => lab.cloud.instance(instanceId));
  const both = [...securityGroupIds.filter((one) => one !== id), id];
  const to = (ids: typeof both) =>
    insist(() => native.call("instanceModify", { params: { id: instanceId }, request: { securityGroupIds: ids } }));
  expectThat((await to(both)).securityGroupIds.includes(id), "it is not in the group");
  await to(both.slice(0, -1));
  await ask(() => native.call("securityGroupRemoveRules", { params, request }));
  const { ingress, uses } = await insist(() => native.call("securityGroupGet", { params }));
  expectThat(ingress.length === 0 && uses.instances === 0, "a rule or a member is there that was taken away");
  await ask(() => native.call("securityGroupDelete", { params }));
}

async function addressLife(lab: LabSession, instanceId: InstanceId, tag: string): Promise<void> {
  const { native } = lab.cloud;
  const request = { name: tag, clientToken: `${tag}e` };
  const [address] = (await insist(() => native.call("elasticAddressAllocate", { request }))).elasticAddresses;
  if (address === undefined) throw new Error("the answer has no address");
  const params = { id: address.id };
  await insist(() => native.call("elasticAddressModify", { params, request: { name: `${tag}-renamed` } }));
  await insist(() => native.call("elasticAddressAttach", { params, request: { instanceId } }));
  const { elastic } = await insist(() => lab.cloud.instance(instanceId));
  expectThat(elastic?.ip === address.ip, `it has ${elastic?.ip ?? "no address"} towards the outside`);
  await ask(() => native.call("elasticAddressDetach", { params }));
  await ask(() => native.call("elasticAddressRelease", { params }));
  const { total } = await insist(() => native.call("elasticAddressList", { query: { id: [address.id] } }));
  expectThat(total === 0, "an address that was released is there");
}

/** Looked for before it is made: an answer that was lost does not make a second one. */
async function made<T>(list: () => Promise<readonly T[]>, make: () => Promise<unknown>): Promise<T> {
  return insist(async () => {
    if ((await list()).length === 0) await make();
    const [one] = await list();
    if (one === undefined) throw new Error("what was made is not listed");
    return one;
  });
}
