import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { cpio, type CpioEntry } from "./cpio.ts";

const entries: CpioEntry[] = [
  { kind: "directory", path: "bin" },
  { kind: "file", path: "bin/tool", mode: 0o755, content: Buffer.from("twelve bytes") },
  { kind: "file", path: "odd", mode: 0o644, content: Buffer.from("12345") },
  { kind: "link", path: "bin/sh", target: "tool" },
];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "cpio-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

test("is what cpio unpacks", () => {
  execFileSync("cpio", ["-i", "--quiet", "--no-absolute-filenames"], { cwd: folder, input: cpio(entries) });
  expect(readFileSync(join(folder, "bin/tool"), "utf8")).toBe("twelve bytes");
  expect(statSync(join(folder, "bin/tool")).mode & 0o777).toBe(0o755);
  expect(readFileSync(join(folder, "odd"), "utf8")).toBe("12345");
  expect(readlinkSync(join(folder, "bin/sh"))).toBe("tool");
});

test("is the same for the same entries", () => {
  expect(cpio(entries)).toEqual(cpio(entries));
});
