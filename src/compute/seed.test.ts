import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { isFailure } from "../lib/errors.ts";
import { buildSeed, seedImage, type SeedContent } from "./seed.ts";

const content: SeedContent = {
  instanceId: "ins-abcdefgh",
  hostname: "web-1",
  userData: Buffer.from("#!/bin/sh\necho hello\n"),
  publicKeys: ["ssh-ed25519 AAAA one", "ssh-rsa BBBB two\n"],
  login: null,
};

const sector = 2048;

/** An independent reader, by ECMA-119's offsets: label and files of the volume whose descriptor lies in this sector. */
function readVolume(image: Buffer, descriptor: 16 | 17): { label: string; files: Map<string, Buffer> } {
  const at = descriptor * sector;
  const isJoliet = descriptor === 17;
  expect(image[at]).toBe(isJoliet ? 2 : 1);
  expect(image.toString("latin1", at + 1, at + 6)).toBe("CD001");
  const text = (bytes: Buffer) =>
    isJoliet ? Buffer.from(bytes).swap16().toString("utf16le") : bytes.toString("latin1");
  const root = image.readUInt32LE(at + 156 + 2) * sector;
  const files = new Map<string, Buffer>();
  for (let record = root; image[record] !== 0; record += image[record] ?? 0) {
    expect(image.readUInt32LE(record + 2)).toBe(image.readUInt32BE(record + 6));
    const length = image[record + 32] ?? 0;
    if (length === 1) continue;
    const start = image.readUInt32LE(record + 2) * sector;
    const name = text(image.subarray(record + 33, record + 33 + length));
    files.set(name, image.subarray(start, start + image.readUInt32LE(record + 10)));
  }
  return { label: text(image.subarray(at + 40, at + 72)).trim(), files };
}

describe("seedImage", () => {
  test("holds all files under both kinds of names, labelled cidata", () => {
    const image = seedImage(content);
    const joliet = readVolume(image, 17);
    const primary = readVolume(image, 16);
    expect([joliet.label, primary.label]).toEqual(["cidata", "cidata"]);
    expect([...joliet.files.keys()]).toEqual(["meta-data;1", "user-data;1", "vendor-data;1"]);
    expect([...primary.files.keys()]).toEqual(["META-DATA.;1", "USER-DATA.;1", "VENDOR-DATA.;1"]);
    expect(joliet.files.get("user-data;1")?.toString()).toBe("#!/bin/sh\necho hello\n");
    expect(primary.files.get("META-DATA.;1")).toEqual(joliet.files.get("meta-data;1"));
    expect(joliet.files.get("meta-data;1")?.toString()).toBe(
      'instance-id: "ins-abcdefgh"\nlocal-hostname: "web-1"\npublic-keys:\n  - "ssh-ed25519 AAAA one"\n  - "ssh-rsa BBBB two"\n',
    );
  });

  test("gives back user data of any size and content", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 3 * sector }), (bytes) => {
        const image = seedImage({ ...content, userData: Buffer.from(bytes) });
        expect(readVolume(image, 17).files.get("user-data;1")).toEqual(Buffer.from(bytes));
        expect(image.length % sector).toBe(0);
        expect(image.readUInt32LE(16 * sector + 80) * sector).toBe(image.length);
      }),
    );
  });

  test("has an empty user-data when there is none, and no list of keys without keys", () => {
    const { files } = readVolume(seedImage({ ...content, userData: null, publicKeys: [] }), 17);
    expect(files.get("user-data;1")?.length).toBe(0);
    expect(files.get("meta-data;1")?.toString()).not.toContain("public-keys");
  });

  test("a value cannot break out of its line", () => {
    const { files } = readVolume(seedImage({ ...content, hostname: 'a"\nuser: "b' }), 17);
    expect(files.get("meta-data;1")?.toString().split("\n")[1]).toBe(String.raw`local-hostname: "a\"\nuser: \"b"`);
  });

  test("is the same for the same content and never too short for a reader of labels", () => {
    expect(seedImage(content)).toEqual(seedImage(content));
    expect(seedImage({ ...content, userData: null }).length).toBeGreaterThanOrEqual(0x11000);
  });

  test("refuses more than 1 MiB", () => {
    const tooMuch = () => seedImage({ ...content, userData: Buffer.alloc(1 << 20) });
    expect(tooMuch).toThrow(expect.toSatisfy((error: unknown) => isFailure(error, "limit")));
  });
});

describe("buildSeed", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "seed-"));
  });
  afterAll(async () => await rm(folder, { recursive: true }));

  test("writes the image for nobody else to read, and never over a file", async () => {
    const file = join(folder, "seed");
    await buildSeed(file, content);
    expect(await readFile(file)).toEqual(seedImage(content));
    expect((await stat(file)).mode & 0o077).toBe(0);
    await expect(buildSeed(file, content)).rejects.toThrow("EEXIST");
  });
});
