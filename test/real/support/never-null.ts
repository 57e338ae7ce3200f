/**
 * What the Go clients (Terraform's provider above all) dereference without looking: a field that is null or absent there ends them.
 * Checked on every answer of a replay, strictly in what they need and not in what else is there.
 */
import * as z from "zod";

const text = z.string();
const count = z.int().nonnegative();
const loose = z.looseObject;
const none = loose({});

const tags = z.array(loose({ Key: text, Value: text }));

const instance = loose({
  InstanceId: text,
  InstanceName: text,
  InstanceState: text,
  InstanceType: text,
  InstanceChargeType: text,
  ImageId: text,
  CreatedTime: text,
  Placement: loose({ Zone: text, ProjectId: count }),
  InternetAccessible: loose({ InternetMaxBandwidthOut: count }),
  VirtualPrivateCloud: loose({ VpcId: text, SubnetId: text }),
  SystemDisk: loose({ DiskType: text, DiskSize: count, DiskId: text }),
  DataDisks: z.array(loose({ DiskId: text })),
  LoginSettings: none,
  SecurityGroupIds: z.array(text),
  PrivateIpAddresses: z.array(text),
  PublicIpAddresses: z.array(text),
  LatestOperationState: text,
  Tags: tags,
});

const disk = loose({
  DiskId: text,
  DiskState: text,
  DiskName: text,
  DiskSize: count,
  DiskType: text,
  Encrypt: z.boolean(),
  ThroughputPerformance: count,
  DeleteWithInstance: z.boolean(),
});

const vpc = loose({
  VpcId: text,
  VpcName: text,
  CidrBlock: text,
  CreatedTime: text,
  IsDefault: z.boolean(),
  EnableMulticast: z.boolean(),
  TagSet: tags,
});

const subnet = loose({
  SubnetId: text,
  SubnetName: text,
  VpcId: text,
  CidrBlock: text,
  CreatedTime: text,
  RouteTableId: text,
  CdcId: text,
  IsDefault: z.boolean(),
  EnableBroadcast: z.boolean(),
  Zone: text,
  AvailableIpAddressCount: count,
});

const route = loose({
  DestinationCidrBlock: text,
  GatewayId: text,
  GatewayType: text,
  RouteDescription: text,
  RouteId: count,
  RouteType: text,
  Enabled: z.boolean(),
  RouteItemId: text,
});

const routeTable = loose({
  RouteTableId: text,
  RouteTableName: text,
  VpcId: text,
  CreatedTime: text,
  Main: z.boolean(),
  AssociationSet: z.array(loose({ SubnetId: text })),
  RouteSet: z.array(route),
});

const securityGroup = loose({
  SecurityGroupId: text,
  SecurityGroupName: text,
  SecurityGroupDesc: text,
  /** An integer, as text. */
  ProjectId: text.regex(/^\d+$/),
});

const policy = loose({
  PolicyIndex: count,
  Protocol: text,
  Port: text,
  CidrBlock: text,
  SecurityGroupId: text,
  Action: text,
  PolicyDescription: text,
  AddressTemplate: loose({ AddressId: text, AddressGroupId: text }),
  ServiceTemplate: loose({ ServiceId: text, ServiceGroupId: text }),
});

const keyPair = loose({
  KeyId: text,
  KeyName: text,
  ProjectId: count,
  PublicKey: text,
  AssociatedInstanceIds: z.array(text),
});

/** By action; one that is not here has nothing in its answer that clients look into. */
export const neverNull: Readonly<Record<string, z.ZodType>> = {
  RunInstances: loose({ InstanceIdSet: z.array(text).min(1) }),
  DescribeInstances: loose({ TotalCount: count, InstanceSet: z.array(instance) }),
  DescribeInstancesAttributes: loose({
    InstanceSet: z.array(loose({ InstanceId: text, Attributes: loose({ UserData: text }) })),
  }),
  DescribeImages: loose({
    TotalCount: count,
    ImageSet: z.array(loose({ ImageId: text, ImageState: text, ImageName: text, OsName: text })),
  }),
  DescribeDisks: loose({ TotalCount: count, DiskSet: z.array(disk) }),
  DescribeResourceTagsByResourceIds: loose({
    TotalCount: count,
    Tags: z.array(loose({ TagKey: text, TagValue: text, ResourceId: text })),
  }),
  CreateKeyPair: loose({ KeyPair: loose({ KeyId: text, PrivateKey: text }) }),
  ImportKeyPair: loose({ KeyId: text }),
  DescribeKeyPairs: loose({ TotalCount: count, KeyPairSet: z.array(keyPair) }),
  CreateVpc: loose({ Vpc: vpc }),
  DescribeVpcs: loose({ TotalCount: count, VpcSet: z.array(vpc) }),
  CreateSubnet: loose({ Subnet: subnet }),
  DescribeSubnets: loose({ TotalCount: count, SubnetSet: z.array(subnet) }),
  CreateRouteTable: loose({ RouteTable: routeTable }),
  DescribeRouteTables: loose({ TotalCount: count, RouteTableSet: z.array(routeTable) }),
  CreateRoutes: loose({ RouteTableSet: z.array(routeTable).length(1) }),
  CreateSecurityGroup: loose({ SecurityGroup: securityGroup }),
  DescribeSecurityGroups: loose({ TotalCount: count, SecurityGroupSet: z.array(securityGroup) }),
  DescribeSecurityGroupPolicies: loose({
    SecurityGroupPolicySet: loose({ Version: text, Ingress: z.array(policy), Egress: z.array(policy) }),
  }),
  DescribeSecurityGroupAssociationStatistics: loose({
    SecurityGroupAssociationStatisticsSet: z.array(
      loose({ SecurityGroupId: text, CVM: count, CLB: count, CDB: count, ENI: count, SG: count }),
    ),
  }),
  DescribeUsedIpAddress: loose({ TotalCount: count, IpAddressStates: z.array(loose({ IpAddress: text })) }),
};

/** The answer, if it has everything that clients take for granted. */
export function complete<T>(action: string, answer: T): T {
  const parsed = neverNull[action]?.safeParse(answer);
  if (parsed !== undefined && !parsed.success) {
    throw new Error(`the answer to ${action} lacks what clients dereference: ${z.prettifyError(parsed.error)}`);
  }
  return answer;
}
