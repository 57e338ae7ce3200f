import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, it } from "vitest";
import { readSmall } from "./small-file.ts";

const folder = mkdtempSync(join(tmpdir(), "vstation-small-"));
afterAll(() => rmSync(folder, { recursive: true }));

it("reads a file up to its bound, and no further", () => {
  const file = join(folder, "exact");
  writeFileSync(file, "x".repeat(64));
  expect(readSmall(file, 64).toString()).toBe("x".repeat(64));
  expect(() => readSmall(file, 63)).toThrow(`${file} is longer than the 63 bytes that can be taken`);
  expect(() => readSmall("/dev/zero", 64)).toThrow("/dev/zero is longer than");
});

it("names the file that cannot be read", () => {
  expect(() => readSmall(folder, 64)).toThrow(`${folder}: EISDIR`);
  expect(() => readSmall(join(folder, "none"), 64)).toThrow("none: ENOENT");
});
