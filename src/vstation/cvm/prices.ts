/**
 * Prices. Nothing is billed: each is zero, and whole for clients that read it without looking. What is asked about must be there all
 * the same: a price for what cannot be had would be a promise.
 */
import type { SystemDisk } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import { failure } from "../../core/failure-codes.ts";
import { action, type Context } from "./action.ts";
import { instancesOf } from "./instances-of.ts";
import { check, id, idsToChange, ignored, integer, structure, text } from "./parameters.ts";

/** Whole, per hour. */
export const free = {
  UnitPrice: 0,
  UnitPriceDiscount: 0,
  ChargeUnit: "HOUR",
  OriginalPrice: 0,
  DiscountPrice: 0,
  Discount: 100,
} as const;

const Price = { InstancePrice: free, BandwidthPrice: { ...free, ChargeUnit: "GB" } };

const InstanceType = text(64, "InvalidParameterValue.InstanceTypeNotFound");

function mustKnowType({ cloud }: Context, name: string): void {
  if (cloud.catalogue.types.some((type) => type.name === name)) return;
  throw failure("InstanceTypeUnknown", `there is no instance type ${name}`);
}

export const inquiryPriceRunInstances = action("InquiryPriceRunInstances")(
  {
    Placement: ignored(),
    ImageId: id("image"),
    InstanceType: InstanceType.optional(),
    InstanceCount: integer(1, 500).optional(),
    InstanceChargeType: ignored(),
    InstanceChargePrepaid: ignored(),
    SystemDisk: ignored(),
    DataDisks: ignored(),
    VirtualPrivateCloud: ignored(),
    InternetAccessible: ignored(),
    InstanceName: ignored(),
    LoginSettings: ignored(),
    SecurityGroupIds: ignored(),
    EnhancedService: ignored(),
    ClientToken: ignored(),
    HostName: ignored(),
    TagSpecification: ignored(),
    InstanceMarketOptions: ignored(),
    Metadata: ignored(),
    HpcClusterId: ignored(),
    CpuTopology: ignored(),
    LaunchTemplate: ignored(),
    NetworkInterfaces: ignored(),
  },
  async (context, request) => {
    if (request.InstanceType !== undefined) mustKnowType(context, request.InstanceType);
    const images = await context.cloud.images.list(context.caller, { ids: [request.ImageId] }, { offset: 0, limit: 1 });
    if (images.total === 0) throw failure("ImageNotFound", `there is no image ${request.ImageId}`);
    return { Price };
  },
);

export const inquiryPriceResetInstancesType = action("InquiryPriceResetInstancesType")(
  { InstanceIds: idsToChange("instance", 1), InstanceType },
  async (context, request) => {
    mustKnowType(context, request.InstanceType);
    await instancesOf(context, request.InstanceIds);
    return { Price };
  },
);

export const inquiryPriceResizeInstanceDisks = action("InquiryPriceResizeInstanceDisks")(
  {
    InstanceId: id("instance"),
    SystemDisk: structure<SystemDisk>()({
      DiskType: ignored(),
      DiskId: ignored(),
      DiskSize: integer(1, 32_000),
      CdcId: ignored(),
      DiskName: ignored(),
      Encrypt: ignored(),
      KmsKeyId: ignored(),
    }).optional(),
    DataDisks: ignored(),
    ForceStop: ignored(),
    ResizeOnline: ignored(),
  },
  async (context, request) => {
    await instancesOf(context, [request.InstanceId]);
    return { Price };
  },
);

const operations = ["INSTANCE_DEGRADE", "INTERNET_CHARGE_TYPE_CHANGE"];

/** Nothing is counted: every change may be made as often as one likes. */
export const describeInstancesOperationLimit = action("DescribeInstancesOperationLimit")(
  {
    InstanceIds: idsToChange("instance", 100),
    Operation: check(text(64), "InvalidParameterValue", `must be one of ${operations.join(", ")}`, (value) =>
      operations.includes(value),
    ),
  },
  async (context, request) => {
    const instances = await instancesOf(context, request.InstanceIds);
    return {
      InstanceOperationLimitSet: instances.map(({ id: InstanceId }) => ({
        InstanceId,
        Operation: request.Operation,
        CurrentCount: 0,
        LimitCount: -1,
      })),
    };
  },
);
