/**
 * CreateImage by the official SDK, with real guests: of one that runs and of one that is stopped, with Compute and VStation killed on
 * the way. What shows that it is that disk: the guest counts its boots on it, and a guest of the new image goes on counting.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { connectCloud, type CloudClient } from "../../bench/cloud.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { TestLab } from "../../lab/testing.ts";
import { isFailure } from "../../src/lib/errors.ts";
import type { ImageId, InstanceId } from "../../src/lib/ids.ts";

const patience = { timeout: 240_000, interval: 500 };
const lab = new TestLab();
let cloud: CloudClient;
let source: InstanceId;

beforeAll(async () => {
  await lab.start({ hosts: 2 });
  cloud = connectCloud(lab.home.credentialsFile);
  source = await guestOf("img-tiny0001");
});
afterAll(() => lab.destroy());

async function guestOf(imageId: string): Promise<InstanceId> {
  const [id] = await cloud.run({ name: "guest", imageId, instanceType: "T1.SMALL1", diskGiB: 2 });
  if (id === undefined) throw new Error("RunInstances returned no id");
  await cloud.succeeded([id], 240_000);
  return id;
}

async function bootsOf(id: InstanceId): Promise<number> {
  const { ip } = await cloud.instance(id);
  return await vi.waitFor(async () => {
    const probe = await ProbeClient.connect(ip);
    try {
      return (await probe.info()).boots;
    } finally {
      probe.close();
    }
  }, patience);
}

async function create(name: string): Promise<ImageId> {
  const { ImageId: id } = await cloud.sdk.CreateImage({ InstanceId: source, ImageName: name });
  return id as ImageId;
}

/** The image once it is no longer under way; VStation may be away meanwhile. */
async function ended(id: ImageId) {
  return await vi.waitFor(async () => {
    const image = await cloud.native.call("imageGet", { params: { id } }).catch((error: unknown) => {
      if (isFailure(error, "unavailable", "timeout")) throw new Error("VStation is away", { cause: error });
      throw error;
    });
    expect(image.step).toBeNull();
    return image;
  }, patience);
}

const remains = (): string[] =>
  ["host1", "host2"].flatMap((host) => readdirSync(join(lab.home.hostDir(host), "state/jobs")));

it("an image of a running instance starts guests that go on from its disk", { timeout: 600_000 }, async () => {
  expect(await bootsOf(source)).toBe(1);
  expect(Object.keys(await cloud.sdk.CreateImage({ InstanceId: source, ImageName: "dry", DryRun: true }))).toEqual([
    "RequestId",
  ]);
  const id = await create("running");
  const { ImageSet } = await cloud.sdk.DescribeImages({ ImageIds: [id] });
  expect(ImageSet).toMatchObject([{ ImageState: "CREATING", ImageSource: "CREATE_IMAGE", ImageType: "PRIVATE_IMAGE" }]);
  expect(await ended(id)).toMatchObject({ state: "NORMAL", error: null, boot: "direct", diskGiB: 2 });
  expect(await bootsOf(await guestOf(id))).toBe(2);
  // The instance was not touched.
  expect(await bootsOf(source)).toBe(1);
  await vi.waitFor(() => expect(remains()).toEqual([]), patience);
});

it("an image of a stopped one too, whatever is killed on the way", { timeout: 900_000 }, async () => {
  await cloud.stop("HARD", source);
  await cloud.succeeded([source], 240_000);
  const id = await create("stopped");
  for (const part of ["host1/compute", "host2/compute", "vstation", "host1/compute", "host2/compute", "vstation"]) {
    await vi.waitFor(() => lab.kill(part), patience);
  }
  expect(await ended(id)).toMatchObject({ state: "NORMAL", error: null });
  // Who asks for an instance while the hosts are on their way back is told that there is no room.
  await vi.waitFor(async () => expect([...(await lab.hosts()).values()]).toEqual(["ready", "ready"]), patience);
  expect(await bootsOf(await guestOf(id))).toBe(2);
  await vi.waitFor(() => expect(remains()).toEqual([]), patience);
});

it("is refused where it makes no sense, with CVM's codes", { timeout: 600_000 }, async () => {
  const refusals: [object, string][] = [
    [{ InstanceId: "ins-00000000", ImageName: "none" }, "InvalidInstanceId.NotFound"],
    [{ ImageName: "none" }, "MissingParameter"],
    [{ InstanceId: source, ImageName: "running" }, "InvalidImageName.Duplicate"],
    [{ InstanceId: source, ImageName: "x".repeat(61) }, "InvalidParameterValue.TooLong"],
    [{ InstanceId: source, ImageName: "off", ForcePoweroff: "true" }, "UnsupportedOperation"],
    [{ InstanceId: source, ImageName: "snaps", SnapshotIds: ["snap-00000000"] }, "UnsupportedOperation"],
  ];
  for (const [request, code] of refusals) {
    await expect(cloud.sdk.CreateImage(request as never)).rejects.toMatchObject({ code });
  }
});

it("that is deleted while it is made is made no further, and nothing of it stays", { timeout: 600_000 }, async () => {
  const id = await create("unwanted");
  await cloud.sdk.DeleteImages({ ImageIds: [id] });
  await vi.waitFor(() => expect(remains()).toEqual([]), patience);
  expect(await cloud.sdk.DescribeImages({ ImageIds: [id] })).toMatchObject({ TotalCount: 0 });
});
