import { expect, test } from "vitest";
import { domainStatus, lifecycle } from "./states.ts";

test("states and reasons are named by libvirt's numbers, and unknown numbers are shown rather than refused", () => {
  expect(domainStatus(1, 1)).toEqual({ state: "running", reason: "booted" });
  expect(domainStatus(3, 5)).toEqual({ state: "paused", reason: "ioerror" });
  expect(domainStatus(5, 6)).toEqual({ state: "shutoff", reason: "failed" });
  expect(domainStatus(1, 99)).toEqual({ state: "running", reason: "unknown" });
  expect(domainStatus(99, 0)).toEqual({ state: "nostate", reason: "unknown" });
});

test("lifecycle changes are named by libvirt's numbers", () => {
  expect(lifecycle(5, 3)).toEqual({ change: "stopped", detail: "migrated" });
  expect(lifecycle(6, 2)).toEqual({ change: "shutdown", detail: "host" });
  expect(lifecycle(8, 0)).toEqual({ change: "crashed", detail: "panicked" });
  expect(lifecycle(2, 99)).toEqual({ change: "started", detail: "unknown" });
  expect(lifecycle(99, 0)).toEqual({ change: "unknown", detail: "unknown" });
});
