/**
 * How benchmarks and fault tests ask VStation for things: requests by the official SDK, as a tenant sends them; what came of
 * them by the native API, which shows hosts, incarnations and operations.
 */
import { readFileSync } from "node:fs";
import { cbs } from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/index.js";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import * as z from "zod";
import { NativeClient } from "../src/api/native/client.ts";
import type { HostWire, InstanceWire, OperationWire } from "../src/api/native/resources.ts";
import { parseId, type Id, type IdKind, type InstanceId, type OperationId } from "../src/lib/ids.ts";

export const credentialsSchema = z.looseObject({
  endpoint: z.url(),
  secretId: z.string(),
  secretKey: z.string(),
  region: z.string(),
  zone: z.string(),
  nativeEndpoint: z.url(),
  nativeToken: z.string(),
});

/** An API key, and where it is one. */
export interface ApiKey {
  readonly endpoint: string;
  readonly region: string;
  readonly secretId: string;
  readonly secretKey: string;
}

/** What each of the official SDK's clients is made with. */
export function sdkConfig({ endpoint, region, secretId, secretKey }: ApiKey) {
  const { host, protocol } = new URL(endpoint);
  return {
    credential: { secretId, secretKey },
    region,
    profile: { httpProfile: { endpoint: host, protocol: `${protocol}//`, reqTimeout: 60 } },
  };
}

export interface RunWish {
  readonly count?: number;
  readonly name: string;
  readonly imageId: string;
  readonly instanceType: string;
  /** Plain text. */
  readonly userData?: string;
  readonly clientToken?: string;
  /** A disaster-recover group that it joins. */
  readonly groupId?: string;
  readonly keyIds?: readonly string[];
  /** GiB of the system disk; without it, the zone's default. */
  readonly diskGiB?: number;
  /** Of the system disk; without it, the zone's default. */
  readonly diskType?: string;
}

type SdkClient = InstanceType<typeof cvm.v20170312.Client>;

export class CloudClient {
  readonly sdk: SdkClient;
  readonly cbs: InstanceType<typeof cbs.v20170312.Client>;
  readonly native: NativeClient;
  readonly zone: string;

  constructor(credentials: z.infer<typeof credentialsSchema>) {
    const config = sdkConfig(credentials);
    this.sdk = new cvm.v20170312.Client(config);
    this.cbs = new cbs.v20170312.Client(config);
    this.native = new NativeClient({ endpoint: credentials.nativeEndpoint, token: credentials.nativeToken });
    this.zone = credentials.zone;
  }

  async run(wish: RunWish): Promise<InstanceId[]> {
    const answer = await this.sdk.RunInstances({
      Placement: { Zone: this.zone },
      ImageId: wish.imageId,
      InstanceType: wish.instanceType,
      InstanceName: wish.name,
      InstanceCount: wish.count ?? 1,
      SystemDisk: {
        ...(wish.diskGiB === undefined ? {} : { DiskSize: wish.diskGiB }),
        ...(wish.diskType === undefined ? {} : { DiskType: wish.diskType }),
      },
      ...(wish.userData === undefined ? {} : { UserData: Buffer.from(wish.userData).toString("base64") }),
      ...(wish.groupId === undefined ? {} : { DisasterRecoverGroupIds: [wish.groupId] }),
      ...(wish.keyIds === undefined ? {} : { LoginSettings: { KeyIds: [...wish.keyIds] } }),
      ...(wish.clientToken === undefined ? {} : { ClientToken: wish.clientToken }),
    });
    return (answer.InstanceIdSet ?? []).map((text) => asId("instance", text));
  }

  async start(...ids: InstanceId[]): Promise<void> {
    await this.sdk.StartInstances({ InstanceIds: ids });
  }
  async stop(how: "SOFT" | "HARD" | "SOFT_FIRST", ...ids: InstanceId[]): Promise<void> {
    await this.sdk.StopInstances({ InstanceIds: ids, StopType: how });
  }
  async reboot(how: "SOFT" | "HARD" | "SOFT_FIRST", ...ids: InstanceId[]): Promise<void> {
    await this.sdk.RebootInstances({ InstanceIds: ids, StopType: how });
  }
  /** Stops it for that and starts it again. */
  async resize(instanceType: string, id: InstanceId): Promise<void> {
    await this.sdk.ResetInstancesType({ InstanceIds: [id], InstanceType: instanceType, ForceStop: true });
  }
  /** To another address of its subnet, over a stop and a start. */
  async renumber(ip: string, id: InstanceId): Promise<void> {
    const { vpcId: VpcId, subnetId: SubnetId } = await this.instance(id);
    const VirtualPrivateCloud = { VpcId, SubnetId, PrivateIpAddresses: [ip] };
    await this.sdk.ModifyInstancesVpcAttribute({ InstanceIds: [id], VirtualPrivateCloud });
  }
  async terminate(...ids: InstanceId[]): Promise<void> {
    await this.sdk.TerminateInstances({ InstanceIds: ids });
  }

  async instance(id: InstanceId): Promise<InstanceWire> {
    return this.native.call("instanceGet", { params: { id } });
  }
  async instances(): Promise<InstanceWire[]> {
    const page = { offset: 0, limit: 500 };
    return (await this.native.call("instanceList", { query: page })).instances;
  }
  async hosts(): Promise<HostWire[]> {
    return (await this.native.call("hostList", { query: { offset: 0, limit: 500 } })).hosts;
  }
  async operations(id: InstanceId): Promise<OperationWire[]> {
    const query = { instanceId: [id], offset: 0, limit: 500 };
    return (await this.native.call("operationList", { query })).operations;
  }

  /** Waits until the newest operation of each has ended, by long polls; returns them in order. Throws past the deadline. */
  async settled(ids: readonly InstanceId[], deadlineMs: number): Promise<OperationWire[]> {
    const end = performance.now() + deadlineMs;
    return Promise.all(
      ids.map(async (id) => {
        const [newest] = await this.operations(id);
        if (newest === undefined) throw new Error(`${id} has no operation`);
        let operation = newest;
        while (operation.state === "PENDING" || operation.state === "RUNNING") {
          const left = (end - performance.now()) / 1000;
          if (left <= 0) throw new Error(`${id}: ${operation.kind} has not ended: ${JSON.stringify(operation.steps)}`);
          operation = await this.#waitFor(operation.id, Math.min(20, Math.ceil(left)));
        }
        return operation;
      }),
    );
  }

  /** As {@link settled}, and every one of them a success. */
  async succeeded(ids: readonly InstanceId[], deadlineMs: number): Promise<void> {
    const failed = (await this.settled(ids, deadlineMs)).filter((operation) => operation.state !== "SUCCEEDED");
    if (failed.length === 0) return;
    const reasons = failed.map(
      (each) => `${each.instanceId}: ${each.kind}: ${each.error?.code}: ${each.error?.message}`,
    );
    throw new Error(reasons.join("; "));
  }

  #waitFor(id: OperationId, seconds: number): Promise<OperationWire> {
    return this.native.call("operationGet", { params: { id }, query: { wait: seconds } }, { timeoutMs: 60_000 });
  }
}

/** A client for the lab or the site whose credentials these are. */
export function connectCloud(credentialsFile: string): CloudClient {
  return new CloudClient(credentialsSchema.parse(JSON.parse(readFileSync(credentialsFile, "utf8"))));
}

export function asId<K extends IdKind>(kind: K, text: string): Id<K> {
  const id = parseId(kind, text);
  if (id === undefined) throw new Error(`${text} is no id of an ${kind}`);
  return id;
}
