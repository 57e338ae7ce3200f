import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { servicesOf } from "./status.ts";

let host: string;
beforeEach(() => {
  host = mkdtempSync(join(tmpdir(), "vstation-status-"));
});
afterEach(() => rmSync(host, { recursive: true }));

it("reads what a host says of its services", () => {
  mkdirSync(join(host, "status"));
  writeFileSync(join(host, "status/libvirtd"), "35 1764127740 0 - 0\n");
  writeFileSync(join(host, "status/compute"), "- 1764127741 5 status-137 5\n");
  writeFileSync(join(host, "status/.compute.new"), "");
  expect(servicesOf(host)).toEqual({
    libvirtd: { state: "running", pid: 35, since: "2025-11-26T03:29:00.000Z", restarts: 0, lastEnd: null },
    compute: { state: "crash loop", pid: null, since: "2025-11-26T03:29:01.000Z", restarts: 5, lastEnd: "status 137" },
  });
});

it("takes for absent what a booting host takes away while it is read", () => {
  expect(servicesOf(host)).toEqual({});
  mkdirSync(join(host, "status"));
  // Listed, but not there when it is opened.
  symlinkSync("taken-away", join(host, "status/compute"));
  expect(servicesOf(host)).toEqual({});
});
