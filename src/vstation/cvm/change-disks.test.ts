/** Which type of a disk may be named where it grows or is replaced: the one that it has. The `Cloud` is a fake: wire rules only. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { fakeCloud, testImage } from "./cloud.fake.ts";
import { call, serveFake, type TestServer } from "./served.fake.ts";

const { cloud, calls } = fakeCloud();
let server: TestServer;
let InstanceId = "";
let system = "";
let data: string[] = [];

beforeAll(async () => {
  server = await serveFake(cloud);
  const { response } = await call(server.port, "RunInstances", {
    Placement: { Zone: "lab-1" },
    ImageId: testImage,
    InstanceType: "T1.SMALL1",
    SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 20 },
    DataDisks: [
      { DiskType: "CLOUD_SSD", DiskSize: 10 },
      { DiskType: "CLOUD_BASIC", DiskSize: 10 },
    ],
  });
  [InstanceId = ""] = response["InstanceIdSet"] as string[];
  const shown = await call(server.port, "DescribeInstances", { InstanceIds: [InstanceId] });
  const [instance] = shown.response["InstanceSet"] as {
    SystemDisk: { DiskId: string };
    DataDisks: { DiskId: string }[];
  }[];
  system = instance?.SystemDisk.DiskId ?? "";
  data = instance?.DataDisks.map(({ DiskId }) => DiskId) ?? [];
});
afterAll(() => server.close());

/** The error, and what was changed. */
async function change(action: string, parameters: object) {
  calls.length = 0;
  const { response } = await call(server.port, action, { InstanceId, ...parameters });
  const changed = calls.filter(({ name }) => name === "disks.resize" || name === "instances.reinstall");
  return [response.Error?.Code ?? "ok", ...changed.map(({ name, args }) => [name, ...args.slice(1)])];
}

describe("ResizeInstanceDisks", () => {
  it("grows the system disk, its type named or not", async () => {
    const grown = ["ok", ["disks.resize", system, 30]];
    expect(await change("ResizeInstanceDisks", { SystemDisk: { DiskSize: 30 } })).toEqual(grown);
    const named = { SystemDisk: { DiskType: "CLOUD_PREMIUM", DiskSize: 30 } };
    expect(await change("ResizeInstanceDisks", named)).toEqual(grown);
  });

  it("refuses another type of the system disk, and one that there is not", async () => {
    const other = { SystemDisk: { DiskType: "CLOUD_SSD", DiskSize: 30 } };
    expect(await change("ResizeInstanceDisks", other)).toEqual(["UnsupportedOperation"]);
    const none = { SystemDisk: { DiskType: "FLOPPY", DiskSize: 30 } };
    expect(await change("ResizeInstanceDisks", none)).toEqual(["InvalidParameterValue"]);
  });

  it("refuses another type of one data disk before it grows any", async () => {
    const [first, second] = data;
    const both = (other: object) => ({
      DataDisks: [
        { DiskId: first, DiskSize: 20 },
        { DiskSize: 30, ...other },
      ],
    });
    expect(await change("ResizeInstanceDisks", both({ DiskId: second, DiskType: "CLOUD_SSD" }))).toEqual([
      "UnsupportedOperation",
    ]);
    expect(await change("ResizeInstanceDisks", both({ DiskId: second, DiskType: "CLOUD_BASIC" }))).toEqual([
      "ok",
      ["disks.resize", first, 20],
      ["disks.resize", second, 30],
    ]);
  });

  it("knows no data disk that is not the instance's", async () => {
    const stray = { DataDisks: [{ DiskId: "disk-00000000", DiskSize: 20 }] };
    expect(await change("ResizeInstanceDisks", stray)).toEqual(["InvalidDiskId.NotFound"]);
  });
});

describe("ResetInstance", () => {
  it("keeps the type of the system disk, named or not, and refuses another", async () => {
    const other = { SystemDisk: { DiskType: "CLOUD_SSD", DiskSize: 30 } };
    expect(await change("ResetInstance", other)).toEqual(["UnsupportedOperation"]);
    for (const DiskType of [undefined, "CLOUD_PREMIUM"]) {
      expect(await change("ResetInstance", { SystemDisk: { DiskType, DiskSize: 30 } })).toMatchObject([
        "ok",
        ["instances.reinstall", InstanceId, { systemDiskGiB: 30 }],
      ]);
    }
  });
});
