/** Short words for tests of networks: VPCs through the CVM API, and what a simulated host was told of them. */
import type { InstanceId } from "../../../src/lib/ids.ts";
import type { SimHost, SimHostOptions } from "../../../src/sim/host.ts";
import { until } from "../../until.ts";
import type { CvmCaller } from "./cvm.ts";
import type { TestVstation } from "./vstation.ts";

export const zone = "ap-test-1";

/** A host on which there is room by now. */
export async function readyHost(vstation: TestVstation, options: Partial<SimHostOptions> = {}): Promise<SimHost> {
  const room = async (): Promise<number> => {
    const { instanceTypes } = await vstation.native.call("instanceTypeList", {});
    return instanceTypes.find(({ name }) => name === "T1.SMALL1")?.room ?? 0;
  };
  const before = await room();
  const host = await vstation.addHost(options);
  await until("room on the host", async () => (await room()) > before);
  return host;
}

/** The one NIC that a host is told of. */
export function nicOn(host: SimHost, id: string) {
  return host.specs.get(id as InstanceId)?.nics[0];
}

export interface Net {
  vpcId: string;
  subnetId: string;
}

export async function makeNet(api: CvmCaller, cidr = "10.1.0.0/16", name = "a"): Promise<Net> {
  const { Vpc } = await api.call("CreateVpc", { VpcName: name, CidrBlock: cidr });
  const block = cidr.replace(/0\.0\/16$/, "1.0/24");
  const { Subnet } = await api.call("CreateSubnet", {
    VpcId: Vpc.VpcId,
    SubnetName: name,
    CidrBlock: block,
    Zone: zone,
  });
  return { vpcId: Vpc.VpcId as string, subnetId: Subnet.SubnetId as string };
}

export async function runIn(api: CvmCaller, net: Net, more: object = {}): Promise<InstanceId> {
  const { InstanceIdSet } = await api.call("RunInstances", {
    Placement: { Zone: zone },
    ImageId: "img-test0001",
    InstanceType: "T1.SMALL1",
    VirtualPrivateCloud: { VpcId: net.vpcId, SubnetId: net.subnetId },
    ...more,
  });
  return InstanceIdSet[0] as InstanceId;
}

export const subnetsOn = (host: SimHost): string[] => host.network.subnets.map((subnet) => subnet.id);
