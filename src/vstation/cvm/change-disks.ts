/** The CVM actions that change an instance's disks: growing them, and starting over with a new system disk. A type is only ever confirmed. */
import type {
  DataDisk,
  LoginSettings,
  SystemDisk,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import type { DiskType } from "../../core/disk.ts";
import type { DiskId, InstanceId } from "../../lib/ids.ts";
import type { InstanceView } from "../cloud.ts";
import { action, type Context } from "./action.ts";
import { diskSize, diskType } from "./cbs/values.ts";
import { Refusal } from "./error-codes.ts";
import { hostName, userData } from "./instance-values.ts";
import { boolean, id, ignored, list, oneOf, refused, structure } from "./parameters.ts";

const growing = structure<DataDisk>()({
  DiskId: id("disk"),
  DiskSize: diskSize(),
  DiskType: diskType().optional(),
  DiskName: ignored(),
  DeleteWithInstance: ignored(),
  SnapshotId: refused(),
  Encrypt: refused(),
  KmsKeyId: refused(),
  ThroughputPerformance: refused(
    "UnsupportedOperation",
    "asks for another throughput; ModifyDiskExtraPerformance sets it",
  ),
  CdcId: refused(),
  BurstPerformance: refused(),
});

const newSystemDisk = structure<SystemDisk>()({
  DiskType: diskType().optional(),
  DiskId: ignored(),
  DiskSize: diskSize().optional(),
  CdcId: refused(),
  DiskName: ignored(),
  Encrypt: refused(),
  KmsKeyId: refused(),
});

/** Always online: a guest that runs sees it at once, and none is stopped for it. */
export const resizeInstanceDisks = action("ResizeInstanceDisks")(
  {
    InstanceId: id("instance"),
    DataDisks: list(growing, 21).optional(),
    SystemDisk: newSystemDisk.optional(),
    ForceStop: boolean().optional(),
    ResizeOnline: boolean().optional(),
  },
  async (context, request) => {
    const { cloud, caller } = context;
    const data = request.DataDisks ?? [];
    if ((request.SystemDisk === undefined) === (data.length === 0)) {
      throw new Refusal("InvalidParameterCombination", "Give `SystemDisk` or `DataDisks`.");
    }
    const view = await viewOf(context, request.InstanceId);
    if (request.SystemDisk !== undefined) {
      const size = request.SystemDisk.DiskSize;
      if (size === undefined) throw new Refusal("MissingParameter", "The parameter `SystemDisk.DiskSize` is required.");
      mustBeOfType(view.systemDisk, request.SystemDisk.DiskType);
      await cloud.disks.resize(caller, view.systemDisk.id, size);
      return {};
    }
    for (const { DiskId, DiskType } of data) {
      const disk = view.dataDisks.find(({ id: own }) => own === DiskId);
      if (disk !== undefined) {
        mustBeOfType(disk, DiskType);
        continue;
      }
      const { total } = await cloud.disks.list(caller, { ids: [DiskId] }, { offset: 0, limit: 1 });
      const code = total === 0 ? "InvalidDiskId.NotFound" : "UnsupportedOperation.StateError";
      throw new Refusal(code, `${DiskId} is no data disk of ${view.id}.`);
    }
    for (const { DiskId, DiskSize } of data) await cloud.disks.resize(caller, DiskId, DiskSize);
    return {};
  },
);

async function viewOf({ cloud, caller }: Context, instanceId: InstanceId): Promise<InstanceView> {
  const { items } = await cloud.instances.list(caller, { ids: [instanceId] }, { offset: 0, limit: 1 });
  const [view] = items;
  if (view === undefined) throw new Refusal("InvalidInstanceId.NotFound", `There is no ${instanceId}.`);
  return view;
}

/** Clients wait until the disk shows the type that they named: one that it will never have is refused. */
function mustBeOfType(disk: { id: DiskId; type: DiskType }, asked = disk.type): void {
  if (asked === disk.type) return;
  throw new Refusal("UnsupportedOperation", `${disk.id} is of the type ${disk.type}, and no disk changes its type.`);
}

const login = structure<LoginSettings>()({
  Password: refused("UnsupportedOperation", "asks for a password; set one by ResetInstancesPassword"),
  KeyIds: list(id("key"), 16).optional(),
  KeepImageLogin: oneOf(["TRUE", "FALSE", "true", "false"]).optional(),
});

export const resetInstance = action("ResetInstance")(
  {
    InstanceId: id("instance"),
    ImageId: id("image").optional(),
    SystemDisk: newSystemDisk.optional(),
    LoginSettings: login.optional(),
    EnhancedService: ignored(),
    HostName: hostName().optional(),
    UserData: userData().optional(),
  },
  async (context, request) => {
    const { cloud, caller } = context;
    const typeAsked = request.SystemDisk?.DiskType;
    if (typeAsked !== undefined) {
      mustBeOfType((await viewOf(context, request.InstanceId)).systemDisk, typeAsked);
    }
    await cloud.instances.reinstall(caller, request.InstanceId, {
      imageId: request.ImageId ?? null,
      systemDiskGiB: request.SystemDisk?.DiskSize ?? null,
      keyIds: request.LoginSettings?.KeyIds ?? null,
      hostname: request.HostName || null,
      userData: request.UserData || null,
    });
    return {};
  },
);
