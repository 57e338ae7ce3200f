/** For tests: a good request to each route, and the things that requests need to be there. */
import type { NativeClient } from "../../api/native/client.ts";
import type { RouteName } from "../../api/native/routes.ts";
import type { DiskId, NatGatewayId, RouteTableId, SecurityGroupId, VpcId } from "../../lib/ids.ts";
import { fakeAccount, fakeHost } from "./cloud.fake.ts";
import { fakeImage } from "./images.fake.ts";

export interface Sample {
  params?: object;
  query?: string;
  request?: unknown;
}

export async function anInstance(client: NativeClient): Promise<{ id: string; operationId: string }> {
  const request = { instanceType: "T1.SMALL1", imageId: fakeImage, name: "a" };
  const made = await client.call("instanceRun", { request });
  return { id: made.instanceIds[0] ?? "", operationId: made.operationIds[0] ?? "" };
}

export async function anAccessKey(client: NativeClient): Promise<{ id: string; secretId: string }> {
  const { key } = await client.call("accessKeyCreate", { params: { id: fakeAccount }, request: {} });
  return { id: fakeAccount, secretId: key.secretId };
}

export async function aDisk(client: NativeClient): Promise<DiskId> {
  const [id] = (await client.call("diskCreate", { request: { name: "d", sizeGiB: 10 } })).ids;
  if (id === undefined) throw new Error("no disk was made");
  return id;
}

export async function aSnapshot(client: NativeClient): Promise<string> {
  return (await client.call("snapshotCreate", { request: { diskId: await aDisk(client) } })).id;
}

export const aRule = {
  action: "accept" as const,
  protocol: "tcp" as const,
  ports: [{ from: 22, to: 22 }],
  peer: { cidr: "0.0.0.0/0" },
};

export async function aVpc(client: NativeClient): Promise<VpcId> {
  return (await client.call("vpcCreate", { request: { name: "v", cidr: "10.1.0.0/16" } })).id;
}

export async function aRouteTable(client: NativeClient): Promise<RouteTableId> {
  return (await client.call("routeTableCreate", { request: { name: "r", vpcId: await aVpc(client) } })).id;
}

export async function aSubnet(client: NativeClient): Promise<string> {
  return (await client.call("subnetCreate", { request: { name: "s", vpcId: await aVpc(client), cidr: "10.1.1.0/24" } }))
    .id;
}

export async function aNatGateway(client: NativeClient): Promise<NatGatewayId> {
  return (await client.call("natGatewayCreate", { request: { name: "n", vpcId: await aVpc(client) } })).id;
}

export async function aSecurityGroup(client: NativeClient): Promise<{ id: SecurityGroupId }> {
  const { id } = await client.call("securityGroupCreate", { request: { name: "g" } });
  await client.call("securityGroupAddRules", { params: { id }, request: { direction: "ingress", rules: [aRule] } });
  return { id };
}

export async function anElasticAddress(client: NativeClient): Promise<{ id: string }> {
  const [made] = (await client.call("elasticAddressAllocate", { request: {} })).elasticAddresses;
  if (made === undefined) throw new Error("no address was allocated");
  return { id: made.id };
}

export async function aMigration(client: NativeClient): Promise<{ id: string }> {
  const params = await anInstance(client);
  const made = await client.call("instanceMigrate", { params, request: {} });
  return { id: made.migrationId };
}

/** A good request to each route; the type makes a new route without one a compile error. */
export function sampleRequests(client: NativeClient): Record<RouteName, () => Promise<Sample>> {
  return {
    instanceList: async () => ({ query: "?state=RUNNING&state=STOPPED&name=a&limit=10&tag=env=prod&tag=team" }),
    instanceGet: async () => ({ params: await anInstance(client) }),
    instanceRun: async () => ({ request: { instanceType: "T1.SMALL1", imageId: fakeImage, count: 2 } }),
    instanceModify: async () => ({ params: await anInstance(client), request: { name: "b" } }),
    instanceStart: async () => ({ request: { ids: [(await anInstance(client)).id] } }),
    instanceStop: async () => ({ request: { ids: [(await anInstance(client)).id], how: "hard" } }),
    instanceReboot: async () => ({ request: { ids: [(await anInstance(client)).id] } }),
    instanceResize: async () => ({ request: { id: (await anInstance(client)).id, instanceType: "T1.MEDIUM2" } }),
    instanceReinstall: async () => ({ params: await anInstance(client), request: { systemDiskGiB: 60 } }),
    instanceTerminate: async () => ({ request: { ids: [(await anInstance(client)).id] } }),
    instanceConsoleLog: async () => ({ params: await anInstance(client), query: "?bytes=5" }),
    diskList: async () => ({ query: "?state=ATTACHED&usage=DATA_DISK&name=a" }),
    diskCreate: async () => ({ request: { name: "d", sizeGiB: 10, limits: { iops: 500 } } }),
    diskAttach: async () => ({ request: { ids: [await aDisk(client)], instanceId: (await anInstance(client)).id } }),
    diskDetach: async () => ({ request: { ids: [await aDisk(client)] } }),
    diskModify: async () => ({ params: { id: await aDisk(client) }, request: { sizeGiB: 20, name: "e" } }),
    diskDelete: async () => ({ params: { id: await aDisk(client) } }),
    snapshotList: async () => ({ query: "?name=s" }),
    snapshotCreate: async () => ({ request: { diskId: await aDisk(client), name: "s" } }),
    snapshotApply: async () => ({ params: { id: await aSnapshot(client) }, request: { diskId: await aDisk(client) } }),
    snapshotDelete: async () => ({ params: { id: await aSnapshot(client) } }),
    vpcList: async () => ({ query: "?name=v" }),
    vpcCreate: async () => ({ request: { name: "v", cidr: "10.1.0.0/16", tags: { team: "a" } } }),
    vpcModify: async () => ({ params: { id: await aVpc(client) }, request: { name: "w" } }),
    vpcDelete: async () => ({ params: { id: await aVpc(client) } }),
    subnetList: async () => ({ query: `?vpcId=${await aVpc(client)}` }),
    subnetCreate: async () => ({ request: { name: "s", vpcId: await aVpc(client), cidr: "10.1.1.0/24" } }),
    subnetModify: async () => ({
      params: { id: await aSubnet(client) },
      request: { routeTableId: await aRouteTable(client) },
    }),
    subnetDelete: async () => ({ params: { id: await aSubnet(client) } }),
    routeTableList: async () => ({ query: `?id=${await aRouteTable(client)}` }),
    routeTableCreate: async () => ({ request: { name: "r", vpcId: await aVpc(client) } }),
    routeTableModify: async () => ({
      params: { id: await aRouteTable(client) },
      request: { natGatewayId: await aNatGateway(client) },
    }),
    routeTableDelete: async () => ({ params: { id: await aRouteTable(client) } }),
    natGatewayList: async () => ({ query: "?name=n&limit=1" }),
    natGatewayCreate: async () => ({ request: { name: "n", vpcId: await aVpc(client) } }),
    natGatewayDelete: async () => ({ params: { id: await aNatGateway(client) } }),
    securityGroupList: async () => ({ query: "?name=g" }),
    securityGroupGet: async () => ({ params: await aSecurityGroup(client) }),
    securityGroupCreate: async () => ({ request: { name: "g", description: "d" } }),
    securityGroupModify: async () => ({ params: await aSecurityGroup(client), request: { description: "e" } }),
    securityGroupAddRules: async () => ({
      params: await aSecurityGroup(client),
      request: {
        direction: "egress",
        rules: [{ ...aRule, peer: { securityGroupId: (await aSecurityGroup(client)).id } }],
      },
    }),
    securityGroupRemoveRules: async () => ({
      params: await aSecurityGroup(client),
      request: { direction: "ingress", rules: [aRule] },
    }),
    securityGroupDelete: async () => ({ params: await aSecurityGroup(client) }),
    elasticAddressList: async () => ({ query: "?ip=192.0.2.1" }),
    elasticAddressAllocate: async () => ({ request: { count: 2, name: "a", bandwidthMbps: 10 } }),
    elasticAddressModify: async () => ({ params: await anElasticAddress(client), request: { name: "b" } }),
    elasticAddressAttach: async () => ({
      params: await anElasticAddress(client),
      request: { instanceId: (await anInstance(client)).id },
    }),
    elasticAddressDetach: async () => ({ params: await anElasticAddress(client) }),
    elasticAddressRelease: async () => ({ params: await anElasticAddress(client) }),
    instanceMigrate: async () => ({ params: await anInstance(client), request: { to: fakeHost } }),
    instanceMigratePlan: async () => ({ params: await anInstance(client), request: { to: fakeHost } }),
    migrationList: async () => ({ query: `?open=true&hostId=${fakeHost}` }),
    migrationGet: async () => ({ params: await aMigration(client) }),
    migrationStory: async () => ({ params: await aMigration(client) }),
    migrationCancel: async () => ({ params: await aMigration(client) }),
    hostList: async () => ({ query: "?limit=1" }),
    hostGet: async () => ({ params: { id: fakeHost } }),
    hostReadiness: async () => ({ params: { id: fakeHost } }),
    hostInvite: async () => ({ request: { name: "machine-1" } }),
    hostDrain: async () => ({ params: { id: fakeHost }, request: { policy: "finish", ceilingMs: 5_000 } }),
    hostUndrain: async () => ({ params: { id: fakeHost }, request: { cancel: true } }),
    hostModify: async () => ({ params: { id: fakeHost }, request: { cordoned: true } }),
    hostRemove: async () => ({ params: { id: fakeHost }, query: "?dead=true" }),
    operationList: async () => ({ query: "?state=SUCCEEDED" }),
    operationGet: async () => ({ params: { id: (await anInstance(client)).operationId }, query: "?wait=1" }),
    about: async () => ({}),
    instanceTypeList: async () => ({}),
    imageList: async () => ({ query: "?name=tiny" }),
    imageGet: async () => ({ params: { id: fakeImage } }),
    imageImport: async () => ({ request: { name: "i", format: "qcow2", bytes: 5 } }),
    imageContentDigest: async () => ({ params: { id: fakeImage }, query: "?offset=0&bytes=5" }),
    imageCreate: async () => ({ request: { instanceId: (await anInstance(client)).id, name: "i" } }),
    imageModify: async () => ({ params: { id: fakeImage }, request: { name: "i" } }),
    imageDelete: async () => ({ params: { id: fakeImage } }),
    keyList: async () => ({}),
    keyCreate: async () => ({ request: { name: "k" } }),
    keyImport: async () => ({ request: { name: "k", publicKey: "ssh-ed25519 AAAAC3Nz" } }),
    keyDelete: async () => ({ params: { id: (await client.call("keyCreate", { request: { name: "k" } })).key.id } }),
    groupList: async () => ({}),
    groupCreate: async () => ({ request: { name: "g" } }),
    accountList: async () => ({ query: "?limit=1" }),
    accountCreate: async () => ({ request: { name: "other" } }),
    accountGet: async () => ({ params: { id: fakeAccount } }),
    accountSetQuotas: async () => ({ params: { id: fakeAccount }, request: { quotas: { disks: 3, vpcs: null } } }),
    accountDelete: async () => ({ params: await client.call("accountCreate", { request: { name: "gone" } }) }),
    accessKeyList: async () => ({ params: { id: fakeAccount } }),
    accessKeyCreate: async () => ({ params: { id: fakeAccount }, request: { name: "k" } }),
    accessKeySet: async () => ({ params: await anAccessKey(client), request: { enabled: false } }),
    accessKeyDelete: async () => ({ params: await anAccessKey(client) }),
    auditList: async () => ({ query: "?action=RunInstances&changes=true&since=2026-01-01T00:00:00Z&after=5" }),
    groupDelete: async () => ({ params: { id: (await client.call("groupCreate", { request: { name: "g" } })).id } }),
  };
}
