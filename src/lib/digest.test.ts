import { createHash, randomBytes } from "node:crypto";
import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { fileDigest, partDigest } from "./digest.ts";

const directory = mkdtempSync(join(tmpdir(), "digest-"));
afterAll(() => rmSync(directory, { recursive: true }));

test("a file's digest is what its bytes say, whatever it is called", async () => {
  const content = randomBytes(300_000);
  const wanted = createHash("sha256").update(content).digest("hex");
  for (const name of ["-disk", "a b", "line\nbreak", String.raw`back\slash`]) {
    writeFileSync(join(directory, name), content);
    expect(await fileDigest(join(directory, name))).toBe(wanted);
  }
});

test("a part's digest is that of its bytes; a file that is not there has none", async () => {
  const content = randomBytes(300_000);
  writeFileSync(join(directory, "parts"), content);
  for (const [offset, bytes] of [
    [0, 1],
    [70_000, 150_000],
    [0, 300_000],
  ] as const) {
    const wanted = createHash("sha256")
      .update(content.subarray(offset, offset + bytes))
      .digest("hex");
    expect(await partDigest(join(directory, "parts"), { offset, bytes })).toBe(wanted);
  }
  await expect(partDigest(join(directory, "nothing"), { offset: 0, bytes: 1 })).rejects.toThrow("ENOENT");
});

test("a file that is not there, or no file, has none", async () => {
  await expect(fileDigest(join(directory, "nothing"))).rejects.toThrow("No such file");
  await expect(fileDigest(directory)).rejects.toThrow("Is a directory");
});

test("what is not wanted any more ends", async () => {
  const large = join(directory, "large");
  writeFileSync(large, "");
  truncateSync(large, 2 ** 40);
  await expect(fileDigest(large, AbortSignal.timeout(50))).rejects.toThrow("aborted");
});
