/**
 * An image's way to a host that shares nothing with VStation: served over the hosts' own listener, to a host that has an instance of it,
 * and put in its place whole. The host's side runs here in the test, under the certificate that a simulated host was given.
 */
import { createHash, randomBytes } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ImageFetch, type ImageFetchOptions } from "../../src/compute/storage/image-fetch.ts";
import type { ImageId, InstanceId } from "../../src/lib/ids.ts";
import { createLog } from "../../src/lib/log.ts";
import type { SimHost } from "../../src/sim/host.ts";
import { until } from "../until.ts";
import { run } from "./support/cloud.ts";
import { readyHost } from "./support/network.ts";
import { TestPostgres } from "./support/postgres.ts";
import { TestVstation } from "./support/vstation.ts";

const first = "img-first001" as ImageId;
const second = "img-second01" as ImageId;
const mib = 1 << 20;
const disks = new Map([first, second].map((id) => [id, randomBytes(6 * mib)]));
const diskOf = (id: ImageId): Buffer => disks.get(id) ?? Buffer.alloc(0);
const digestOf = (content: Buffer): string => createHash("sha256").update(content).digest("hex");

const postgres = new TestPostgres();
let vstation: TestVstation;
/** Has an instance of each image. */
let holder: SimHost;
/** Has none. */
let stranger: SimHost;
let directory: string;

beforeAll(async () => {
  await postgres.start();
  vstation = await TestVstation.create(postgres);
  await vstation.start();
  holder = await vstation.addHost();
  for (const [id, disk] of disks) {
    writeImage(id, disk, digestOf(disk));
    await run(vstation.native, { imageId: id });
  }
  stranger = await vstation.addHost();
});
afterAll(async () => {
  await vstation.close();
  await postgres.close();
});
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "vstation-images-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function writeImage(id: ImageId, disk: Buffer, digest: string): void {
  const folder = join(vstation.directory, "images", id);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, "disk.qcow2"), disk);
  writeFileSync(join(folder, "unnamed"), "not in the manifest");
  const manifest = {
    id,
    name: id,
    format: 1,
    architecture: "x86_64",
    boot: { kind: "disk", firmware: "bios" },
    disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: 1 },
    minMemoryMiB: 64,
    osName: "none",
    platform: "none",
    sha256: { "disk.qcow2": digest },
  };
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
}

function fetcher(host: SimHost, options: Partial<ImageFetchOptions> = {}): ImageFetch {
  const { identity } = host.options;
  return new ImageFetch({
    directory,
    servers: [vstation.server],
    identity: () => ({ ...identity, hostId: identity.hostId }),
    inUse: () => new Set(),
    limitBytes: 1_000 * mib,
    log: createLog("test"),
    ...options,
  });
}

/** The status of a plain GET, under a host's certificate or none. */
function statusOf(path: string, host?: SimHost): Promise<number> {
  const { identity } = (host ?? holder).options;
  const [address = "", port] = vstation.server.split(":");
  const proof = host === undefined ? {} : { cert: identity.certificate, key: identity.key };
  return new Promise((resolve, reject) => {
    const sent = request({ host: address, port, path, ca: identity.ca, ...proof }, (answer) => {
      answer.resume();
      resolve(answer.statusCode ?? 0);
    });
    sent.on("error", reject);
    sent.end();
  });
}

const inPlace = (id: ImageId): Buffer => readFileSync(join(directory, id, "disk.qcow2"));

describe("an image that a host lacks", () => {
  it("is fetched whole, once for all who wait, with its progress told", async () => {
    const images = fetcher(holder);
    const told: number[] = [];
    await Promise.all([images.fetch(first, (percent) => told.push(percent)), images.fetch(first, () => undefined)]);
    expect(inPlace(first).equals(diskOf(first))).toBe(true);
    expect(told.at(-1)).toBe(100);
    expect(told).toEqual(told.toSorted((a, b) => a - b));
    expect(readdirSync(directory)).toEqual([first]);
    expect(existsSync(join(directory, first, "unnamed"))).toBe(false);
  });

  it("goes on where an earlier fetch was cut off", async () => {
    const partial = join(directory, `.${first}.fetch`);
    mkdirSync(partial);
    writeFileSync(join(partial, "disk.qcow2"), diskOf(first).subarray(0, 4 * mib));
    const told: number[] = [];
    await fetcher(holder).fetch(first, (percent) => told.push(percent));
    expect(inPlace(first).equals(diskOf(first))).toBe(true);
    expect(told[0]).toBeGreaterThanOrEqual(66);
  });

  it("is begun anew when what lies there is of other content", async () => {
    const partial = join(directory, `.${first}.fetch`);
    mkdirSync(partial);
    writeFileSync(join(partial, "disk.qcow2"), randomBytes(4 * mib));
    const images = fetcher(holder);
    await expect(images.fetch(first, () => undefined)).rejects.toMatchObject({ code: "ImageMissing" });
    await images.fetch(first, () => undefined);
    expect(inPlace(first).equals(diskOf(first))).toBe(true);
  });

  it("is not put in its place when it is not what its digest says", async () => {
    const damaged = "img-damaged1" as ImageId;
    writeImage(damaged, randomBytes(mib), digestOf(Buffer.from("else")));
    await run(vstation.native, { imageId: damaged });
    await expect(fetcher(holder).fetch(damaged, () => undefined)).rejects.toMatchObject({ code: "ImageMissing" });
    expect(existsSync(join(directory, damaged))).toBe(false);
  });

  it("waits for VStation, and asks the next server when one is away", async () => {
    const images = fetcher(holder, { servers: ["127.0.0.1:1", vstation.server] });
    await images.fetch(first, () => undefined);
    expect(inPlace(first).equals(diskOf(first))).toBe(true);
    const alone = fetcher(holder, { servers: ["127.0.0.1:1"] });
    await expect(alone.fetch(second, () => undefined)).rejects.toMatchObject({ kind: "unavailable" });
  });
});

describe("what VStation serves", () => {
  it("goes to a host that has an instance of it, and to nobody else", async () => {
    const path = `/images/${first}/disk.qcow2`;
    expect(await statusOf(path, holder)).toBe(200);
    expect(await statusOf(path, stranger)).toBe(404);
    expect(await statusOf(path)).toBe(403);
    await expect(fetcher(stranger).fetch(first, () => undefined)).rejects.toMatchObject({ kind: "not_found" });
  });

  it("goes to a host to which an instance of it is on its way, for as long as it is", async () => {
    const target = await readyHost(vstation);
    target.halves.auto = false;
    const { instances } = await vstation.native.call("instanceList", { query: {} });
    const id = instances.find(({ imageId }) => imageId === first)?.id as InstanceId;
    const { migrationId } = await vstation.native.call("instanceMigrate", {
      params: { id },
      request: { to: target.id, tries: 1 },
    });
    await until("the target is told", () => target.halves.wanted.has(migrationId));
    expect(await statusOf(`/images/${first}/disk.qcow2`, target)).toBe(200);
    expect(await statusOf(`/images/${second}/disk.qcow2`, target)).toBe(404);
    target.halves.auto = true;
    await vstation.native.call("migrationCancel", { params: { id: migrationId } });
    await until("it is over", async () => {
      return (await vstation.native.call("migrationGet", { params: { id: migrationId } })).endedAt !== null;
    });
    expect(await statusOf(`/images/${first}/disk.qcow2`, target)).toBe(404);
  });

  it("is what the manifest names, and nothing beside or above it", async () => {
    for (const name of ["unnamed", "..", "../secret", "..%2f..%2fconfig.json", "", "disk.qcow2/x"]) {
      expect([name, await statusOf(`/images/${first}/${name}`, holder)]).toEqual([name, 404]);
    }
    expect(await statusOf(`/images/img-00000000/manifest.json`, holder)).toBe(404);
  });
});

describe("fetched images", () => {
  it("make room for others when no instance here uses them, but for what an operator put there", async () => {
    const kept = join(directory, "img-operator");
    mkdirSync(kept);
    writeFileSync(join(kept, "disk.qcow2"), randomBytes(8 * mib));
    const images = fetcher(holder, { limitBytes: 8 * mib });
    await images.fetch(first, () => undefined);
    await images.fetch(second, () => undefined);
    expect(readdirSync(directory)).toEqual(["img-operator", second]);
  });

  it("stay while an instance uses them, or while that cannot be told", async () => {
    for (const inUse of [() => new Set([first]), () => undefined]) {
      const images = fetcher(holder, { limitBytes: 8 * mib, inUse });
      await images.fetch(first, () => undefined);
      await images.fetch(second, () => undefined);
      expect(readdirSync(directory)).toEqual([first, second]);
      rmSync(join(directory, second), { recursive: true });
    }
  });
});
