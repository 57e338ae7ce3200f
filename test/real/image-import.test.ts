/**
 * Images from outside, whole: brought by the command line and by URL, converted by the real qemu-img under confinement, refused with the
 * reason, killed on the way, deleted under instances, and seen by nobody but their account.
 */
import { execFile, execFileSync, spawn, spawnSync } from "node:child_process";
import {
  closeSync,
  copyFileSync,
  createReadStream,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sdkConfig } from "../../bench/cloud.ts";
import type { ImageWire } from "../../src/api/native/resources.ts";
import type { ImageId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import { confinedId } from "../../src/vstation/images/confined.ts";
import { convertDisk, honestGrowth } from "../../src/vstation/images/convert.ts";
import { until } from "../until.ts";
import { inState, run, terminate } from "./support/cloud.ts";
import { badDisks, rawDisk } from "./support/disks.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import { persistently, type TestVstation } from "./support/vstation.ts";

const root = join(import.meta.dirname, "../..");
let vstation: TestVstation;
let directory: string;
let web: Server;
let webUrl: string;
/** Bytes per tick of 20 ms. */
let webPace = Infinity;

vstationForAll(async (made) => {
  vstation = made;
  vstation.imports = { allowedNetworks: ["127.0.0.0/8"] };
  await vstation.start({ hosts: 1 });
});
beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "vstation-import-"));
  mkdirSync(join(directory, "bad"));
  web = createServer((request, response) => void serve(request, response));
  await new Promise<void>((resolve) => web.listen(0, "127.0.0.1", resolve));
  webUrl = `http://127.0.0.1:${(web.address() as AddressInfo).port}`;
});
afterAll(() => {
  web.closeAllConnections();
  web.close();
  rmSync(directory, { recursive: true, force: true });
});

/** A web server that knows ranges, as slow as a test wants it. */
async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const file = join(directory, request.url ?? "");
  if (!existsSync(file)) {
    response.writeHead(404).end();
    return;
  }
  const { size, mtimeMs } = statSync(file);
  const etag = `"${size}-${mtimeMs}"`;
  const from = Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0);
  const start = request.headers["if-range"] === etag ? from : 0;
  response.writeHead(start > 0 ? 206 : 200, { etag, "content-length": size - start });
  for await (const part of createReadStream(file, { start, highWaterMark: Math.min(1 << 20, webPace) })) {
    if (response.destroyed) return;
    response.write(part);
    if (webPace !== Infinity) await sleep(20);
  }
  response.end();
}

interface Run {
  code: number;
  out: string;
  err: string;
}

function cli(...args: string[]): Promise<Run> {
  return new Promise((resolve) => {
    execFile(join(root, "vstation"), ["--home", vstation.directory, ...args], (error, out, err) => {
      const code = error === null ? 0 : typeof error.code === "number" ? error.code : -1;
      resolve({ code, out: out.trim(), err });
    });
  });
}

const get = (id: ImageId): Promise<ImageWire> =>
  persistently(() => vstation.native.call("imageGet", { params: { id } }));

async function ended(id: ImageId, ms = 120_000): Promise<ImageWire> {
  return until(
    `the end of ${id}`,
    async () => {
      const image = await get(id);
      return image.step === null ? image : undefined;
    },
    ms,
  );
}

const imageFolder = (id: string): string => join(vstation.directory, "images", id);
const remains = (): string[] => readdirSync(join(vstation.directory, "images", ".import"));
/** What an import worked with goes after its end has been told. */
const nothingRemains = () => until("nothing is left", () => remains().length === 0);

function clientOf(secretId: string, secretKey: string) {
  return new cvm.v20170312.Client(sdkConfig({ ...vstation.credentials, secretId, secretKey }));
}
const mine = () => clientOf(vstation.credentials.secretId, vstation.credentials.secretKey);

describe("an image from outside", () => {
  it("comes by the command line from a file, larger than one part, and shows its progress", async () => {
    const file = rawDisk(join(directory, "first.raw"), 64, 40);
    const { code, out, err } = await cli("image", "import", file, "--format", "raw", "--name", "first", "--wait");
    expect([code, err]).toEqual([0, expect.stringMatching(/sent 25 %\n(.*\n)*.*sent 100 %\n/)]);
    const image = await get(out as ImageId);
    expect(image).toMatchObject({
      name: "first",
      state: "NORMAL",
      boot: "bios",
      diskGiB: 1,
      source: "EXTERNAL_IMPORT",
    });
    execFileSync("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", file, join(imageFolder(out), "disk.qcow2")]);
    expect(statSync(join(imageFolder(out), "disk.qcow2"))).toMatchObject({ uid: 0, gid: 0 });
    await nothingRemains();
    expect((await cli("image", "list")).out).toMatch(/first +NORMAL/);
    expect((await cli("image", "show", "first")).out).toContain("EXTERNAL_IMPORT");
  });

  it("goes on where it was when its command was killed and is given again, and only with the same file", async () => {
    // So large that it is seen on its way.
    const file = rawDisk(join(directory, "cut.raw"), 512, 100);
    const words = ["image", "import", file, "--format", "raw"];
    const first = spawn(join(root, "vstation"), ["--home", vstation.directory, ...words], { stdio: "ignore" });
    const found = async (): Promise<ImageWire | undefined> =>
      (await vstation.native.call("imageList", { query: { name: "cut" } })).images[0];
    await until("some of it is there", async () => ((await found())?.received ?? 0) > 0);
    const over = new Promise((resolve) => first.once("close", resolve));
    first.kill("SIGKILL");
    await over;
    const image = await found();
    expect(image).toMatchObject({ state: "IMPORTING", step: "receive" });

    const other = join(directory, "other.raw");
    copyFileSync(file, other);
    const handle = openSync(other, "r+");
    writeSync(handle, "x", 300);
    closeSync(handle);
    const refused = await cli("image", "import", other, "--format", "raw", "--name", "cut");
    expect(refused).toMatchObject({ code: 4, err: expect.stringContaining("ImageFileDiffers") as string });
    const declared = await cli(...words, "--boot-mode", "uefi");
    expect(declared).toMatchObject({ code: 4, err: expect.stringContaining("awaits another file") as string });

    const again = await cli(...words, "--wait");
    expect(again).toMatchObject({ code: 0, out: image?.id });
    expect(again.err).toMatch(/: resuming at \d\d? %\n/);
    const disk = join(imageFolder(again.out), "disk.qcow2");
    execFileSync("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", file, disk]);
    await cli("image", "delete", "cut", "--yes");
  });

  it("comes by a URL through the CVM API, in each format, and starts instances", async () => {
    const disk = rawDisk(join(directory, "disk.raw"), 32, 8);
    const formats = { qcow2: ["qcow2", "-c"], vmdk: ["vmdk"], vhd: ["vpc"] } as const;
    const common = { Architecture: "x86_64", OsType: "Debian", OsVersion: "12" };
    for (const [format, [driver, ...options]] of Object.entries(formats)) {
      const name = `disk.${format}`;
      execFileSync("qemu-img", ["convert", "-f", "raw", "-O", driver, ...options, disk, join(directory, name)]);
      const request = { ...common, ImageUrl: `${webUrl}/${name}`, ImageName: `by ${format}`, BootMode: "UEFI" };
      expect(Object.keys(await mine().ImportImage({ ...request, DryRun: true }))).toEqual(["RequestId"]);
      const id = (await mine().ImportImage(request)).ImageId as ImageId;
      expect(await ended(id)).toMatchObject({ state: "NORMAL", boot: "uefi", error: null });
      const { ImageSet } = await mine().DescribeImages({ Filters: [{ Name: "image-name", Values: [`by ${format}`] }] });
      expect(ImageSet).toMatchObject([
        { ImageId: id, ImageState: "NORMAL", ImageType: "PRIVATE_IMAGE", OsName: "Debian 12" },
      ]);
      await inState(vstation, await run(vstation.native, { imageId: id }), "RUNNING");
    }
    expect(await mine().DescribeImageQuota()).toMatchObject({ ImageNumQuota: 100 });
  });

  it("is refused with the reason, and leaves nothing", async () => {
    for (const { file, format, code } of badDisks(join(directory, "bad"))) {
      const told = await cli(
        "--json",
        "image",
        "import",
        file,
        "--format",
        format,
        "--name",
        `${code} ${file}`.slice(-60),
        "--wait",
      );
      const image = JSON.parse(told.out) as ImageWire;
      expect([file, image.state, image.error?.code]).toEqual([file, "IMPORTFAILED", code]);
      expect(told.code).toBe(1);
      expect(existsSync(imageFolder(image.id))).toBe(false);
      await expect(run(vstation.native, { imageId: image.id })).rejects.toMatchObject({ code: "ImageNotUsable" });
      await vstation.native.call("imageDelete", { params: { id: image.id } });
    }
    await nothingRemains();
  });

  it("that unpacks to far more than it is, is stopped on the way", async () => {
    const work = mkdtempSync(join(directory, "bomb-"));
    execFileSync("sh", ["-c", `yes | head -c 268435456 > ${work}/plain`]);
    execFileSync("qemu-img", ["convert", "-c", "-f", "raw", "-O", "qcow2", join(work, "plain"), join(work, "source")]);
    rmSync(join(work, "plain"));
    const growth = { times: honestGrowth.times, free: 16 << 20 };
    const bounds = {
      maxVirtualBytes: 2 ** 40,
      maxMs: 120_000,
      partitioned: true,
      growth,
      signal: AbortSignal.timeout(120_000),
    };
    const bomb = convertDisk({ format: "qcow2", work, diskName: "out", onProgress: () => undefined, ...bounds });
    await expect(bomb).rejects.toMatchObject({ code: "TooLarge" });
    expect(statSync(join(work, "out")).size).toBeLessThan(64 << 20);
  });

  it("by a bad request is not begun", async () => {
    const request = { Architecture: "x86_64", OsType: "Debian", OsVersion: "12", ImageName: "bad" };
    const refused = [
      [{ ImageUrl: `${webUrl}/disk.iso` }, "InvalidParameterValue"],
      [{ ImageUrl: "ftp://example.org/disk.raw" }, "InvalidParameterValue"],
      [{ ImageUrl: `${webUrl}/disk.raw`, Architecture: "arm_64" }, "InvalidParameterValue"],
      [{ ImageUrl: `${webUrl}/disk.raw`, OsType: "Plan 9" }, "InvalidImageOsType.Unsupported"],
      [{ ImageUrl: `${webUrl}/disk.raw`, ImageName: "x".repeat(61) }, "InvalidParameterValue.TooLong"],
      [{ ImageUrl: `${webUrl}/disk.raw`, ImageName: "first" }, "InvalidImageName.Duplicate"],
      [{ ImageUrl: `${webUrl}/disk.raw`, BootMode: "Coreboot" }, "InvalidParameterValue"],
    ] as const;
    for (const [odd, code] of refused) {
      await expect(mine().ImportImage({ ...request, ...odd })).rejects.toMatchObject({ code });
    }
    const { images } = await vstation.native.call("imageList", { query: { name: "bad" } });
    expect(images).toEqual([]);
  });

  it.each([
    ["leads inside", "http://169.254.169.254/latest.qcow2", "UrlRefused"],
    ["nobody serves", "http://127.0.0.1:9/latest.qcow2", "DownloadFailed"],
  ])("by a URL that %s ends with the reason", async (_, ImageUrl, code) => {
    const made = await mine().ImportImage({
      ...{ Architecture: "x86_64", OsType: "Debian", OsVersion: "12", ImageName: code },
      ImageUrl,
    });
    expect((await ended(made.ImageId as ImageId)).error?.code).toBe(code);
  });
});

describe("an import that is killed", () => {
  it("while its file is sent, while it is fetched, while it is converted, ends as if it had not been", async () => {
    // So large that both are seen on their way.
    const file = rawDisk(join(directory, "long.raw"), 600, 300);
    await vstation.kill();
    await vstation.supervise({});
    webPace = 1 << 20;
    const before = vstation.pid;
    const uploading = cli("image", "import", file, "--format", "raw", "--name", "sent", "--wait");
    const { id: fetched } = await vstation.native.call("imageImport", {
      request: { name: "fetched", format: "raw", url: `${webUrl}/long.raw` },
    });
    const steps = async (): Promise<(string | null)[]> =>
      (await persistently(() => vstation.native.call("imageList", {}))).images.map(({ step }) => step);
    const under = await until("both are under way", async () => {
      const now = await steps();
      return now.includes("receive") && now.includes("fetch") ? now : undefined;
    });
    const seen = new Set(under);
    for (let kills = 0; kills < 8; kills++) {
      for (const step of await steps()) seen.add(step);
      await vstation.kill();
      await steps();
      await sleep(250 * kills);
    }
    expect([...seen]).toEqual(expect.arrayContaining(["fetch", "receive"]));
    const { code, out, err } = await uploading;
    expect([code, err.split("\n").at(-2)]).toEqual([0, expect.anything()]);
    for (const id of [out as ImageId, fetched]) {
      expect(await ended(id, 240_000)).toMatchObject({ state: "NORMAL" });
      execFileSync("qemu-img", ["compare", "-f", "raw", "-F", "qcow2", file, join(imageFolder(id), "disk.qcow2")]);
    }
    expect(vstation.pid).not.toBe(before);
    await nothingRemains();
    // Another test on this machine may convert a disk as the same user.
    const confined = () => spawnSync("pgrep", ["-u", String(confinedId)], { encoding: "utf8" }).stdout;
    await until("nothing that converts runs", () => confined() === "");
    webPace = Infinity;
  }, 600_000);
});

describe("an account's image", () => {
  it("is another account's not to see, use, change or delete", async () => {
    const account = await vstation.native.call("accountCreate", { request: { name: "other" } });
    const { key, secretKey } = await vstation.native.call("accessKeyCreate", {
      params: { id: account.id },
      request: {},
    });
    const other = clientOf(key.secretId, secretKey);
    const { images } = await vstation.native.call("imageList", { query: { name: "first" } });
    const id = images[0]?.id ?? "";
    const { ImageSet: shown = [] } = await other.DescribeImages({});
    expect(shown.map((image) => image.ImageId)).toEqual(["img-test0001"]);
    expect(await other.DescribeImages({ ImageIds: [id] })).toMatchObject({ TotalCount: 0 });
    const zone = vstation.credentials.zone;
    const wish = { Placement: { Zone: zone }, ImageId: id, InstanceType: "T1.SMALL1" };
    const notFound = { code: "InvalidImageId.NotFound" };
    await expect(other.RunInstances(wish)).rejects.toMatchObject(notFound);
    await expect(other.ModifyImageAttribute({ ImageId: id, ImageName: "stolen" })).rejects.toMatchObject(notFound);
    await expect(other.DeleteImages({ ImageIds: [id] })).rejects.toMatchObject(notFound);
    const notYours = { code: "UnauthorizedOperation.ImageNotBelongToAccount" };
    await expect(other.DeleteImages({ ImageIds: ["img-test0001"] })).rejects.toMatchObject(notYours);
    await mine().ModifyImageAttribute({ ImageId: id, ImageName: "renamed", ImageDescription: "mine" });
    expect(await get(id as ImageId)).toMatchObject({ name: "renamed", description: "mine" });
  });

  it("that is deleted is gone for new instances, and its disk stays for those that stand on it", async () => {
    const { images } = await vstation.native.call("imageList", { query: { name: "renamed" } });
    const id = images[0]?.id ?? ("" as ImageId);
    const ids = await run(vstation.native, { imageId: id });
    await inState(vstation, ids, "RUNNING");
    await mine().DeleteImages({ ImageIds: [id], DryRun: true });
    await mine().DeleteImages({ ImageIds: [id] });
    await expect(run(vstation.native, { imageId: id })).rejects.toMatchObject({ code: "ImageNotFound" });
    // Long ago, as far as the sweep can tell, which is made at each start.
    await vstation.sql("update image set deleted_at = now() - interval '1 day' where id = $1", [id]);
    const sweeps = async (): Promise<void> => {
      await vstation.kill();
      await persistently(() => vstation.native.call("about", {}));
    };
    await sweeps();
    await sleep(3_000);
    expect(existsSync(join(imageFolder(id), "disk.qcow2"))).toBe(true);
    await persistently(() => terminate(vstation.native, ids));
    await until("the instances are gone", async () => {
      const { total } = await vstation.native.call("instanceList", { query: { imageId: [id] } });
      return total === 0 ? true : undefined;
    });
    await sweeps();
    await until("its files are gone", () => (existsSync(imageFolder(id)) ? undefined : true), 30_000);
  });
});
