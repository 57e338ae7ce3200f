/** The CVM actions that change an instance's disks: growing them, and starting over with a new system disk. */
import type {
  DataDisk,
  LoginSettings,
  SystemDisk,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import { action } from "./action.ts";
import { diskSize } from "./cbs/values.ts";
import { Refusal } from "./error-codes.ts";
import { hostName, userData } from "./instance-values.ts";
import { boolean, id, ignored, list, oneOf, refused, structure } from "./parameters.ts";

const growing = structure<DataDisk>()({
  DiskId: id("disk"),
  DiskSize: diskSize(),
  DiskType: ignored(),
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
  DiskType: ignored(),
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
  async ({ cloud, caller }, request) => {
    const data = request.DataDisks ?? [];
    if ((request.SystemDisk === undefined) === (data.length === 0)) {
      throw new Refusal("InvalidParameterCombination", "Give `SystemDisk` or `DataDisks`.");
    }
    const { items } = await cloud.instances.list(caller, { ids: [request.InstanceId] }, { offset: 0, limit: 1 });
    const [view] = items;
    if (view === undefined) throw new Refusal("InvalidInstanceId.NotFound", `There is no ${request.InstanceId}.`);
    if (request.SystemDisk !== undefined) {
      const size = request.SystemDisk.DiskSize;
      if (size === undefined) throw new Refusal("MissingParameter", "The parameter `SystemDisk.DiskSize` is required.");
      await cloud.disks.resize(caller, view.systemDisk.id, size);
      return {};
    }
    const stray = data.find(({ DiskId }) => !view.dataDisks.some((disk) => disk.id === DiskId));
    if (stray !== undefined) {
      const ids = [stray.DiskId];
      const { total } = await cloud.disks.list(caller, { ids }, { offset: 0, limit: 1 });
      const code = total === 0 ? "InvalidDiskId.NotFound" : "UnsupportedOperation.StateError";
      throw new Refusal(code, `${stray.DiskId} is no data disk of ${view.id}.`);
    }
    for (const { DiskId, DiskSize } of data) await cloud.disks.resize(caller, DiskId, DiskSize);
    return {};
  },
);

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
  async ({ cloud, caller }, request) => {
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
