/** Documents as VStation would send them, for tests that only care about one thing in them. */
import { noLimits } from "../../../src/api/agent-storage.ts";
import type {
  SecurityRule,
  WantedInstance,
  WantedSecurityGroup,
  WantedSubnet,
  WantedVpc,
} from "../../../src/api/agent.ts";
import { plainPromise } from "../../../src/core/machine.ts";
import { newId, type ImageId, type SecurityGroupId, type SubnetId, type VpcId } from "../../../src/lib/ids.ts";

export const tinyImage = "img-tiny0001" as ImageId;

export const testVpc: WantedVpc = {
  id: "vpc-test0001" as VpcId,
  cidrs: ["10.77.0.0/16"],
  domain: "test.internal",
};

const anything: SecurityRule = { action: "accept", protocol: "all", ports: null, peer: { cidr: "0.0.0.0/0" } };
/** Admits all. */
export const testGroup: WantedSecurityGroup = {
  id: "sg-test0001" as SecurityGroupId,
  ingress: [anything],
  egress: [anything],
};

export const testSubnet: WantedSubnet = {
  id: "subnet-test0001" as SubnetId,
  vpcId: testVpc.id,
  cidr: "10.77.0.0/16",
  gateway: "10.77.0.1",
  gatewayMac: "02:77:00:00:00:01",
  // One machine has each number once, and tests run side by side.
  vni: 100 + (process.pid % 16_000_000),
  mtu: 1500,
  dns: [],
  egress: "host",
};

export const testNetwork = { vpcs: [testVpc], subnets: [testSubnet], securityGroups: [testGroup] };

let lastAddress = 10;

/** A running tiny instance of the first incarnation. */
export function tinyInstance(changes: Partial<WantedInstance["spec"]> = {}): Omit<WantedInstance, "generation"> {
  const number = lastAddress++;
  return {
    id: newId("instance"),
    epoch: 1,
    spec: {
      name: "a test's",
      hostname: `guest-${number}`,
      vcpus: 1,
      memoryMiB: 192,
      imageId: tinyImage,
      systemDisk: { id: newId("disk"), sizeGiB: 2, driver: "local", limits: noLimits },
      dataDisks: [],
      nics: [
        {
          mac: `52:54:00:77:00:${number.toString(16).padStart(2, "0")}`,
          ip: `10.77.0.${number}`,
          subnetId: testSubnet.id,
          securityGroupIds: [testGroup.id],
          elasticIp: null,
        },
      ],
      userData: null,
      publicKeys: [],
      machine: { ...plainPromise, baseline: "host" },
      ...changes,
    },
    power: { state: "running", incarnation: 1, resets: 0 },
  };
}
