import { expect, test } from "vitest";
import { hasNeverRun, whereabouts } from "./look.ts";

test("a machine on its way out is no guest that runs here", () => {
  expect(whereabouts({ state: "running", reason: "migrated" })).toBe("running");
  // What libvirtd says for a moment of a machine that waited for its memory, when it throws it away.
  expect(whereabouts({ state: "shutting-down", reason: "unknown" })).toBe("unknown");
  expect(whereabouts({ state: "shutoff", reason: "unknown" })).toBe("off");
});

test("a guest that its storage stopped is no guest that a migration paused", () => {
  expect(whereabouts({ state: "paused", reason: "ioerror" })).toBe("held");
  expect(whereabouts({ state: "paused", reason: "migration" })).toBe("paused");
});

test("libvirt vouches for a machine that it threw away or that still waits, and for none whose end it does not know", () => {
  for (const reason of ["destroyed", "failed", "daemon"] as const)
    expect(hasNeverRun({ state: "shutoff", reason })).toBe(true);
  for (const reason of ["shutdown", "crashed", "unknown", "saved"] as const)
    expect(hasNeverRun({ state: "shutoff", reason })).toBe(false);
  expect(hasNeverRun({ state: "paused", reason: "migration" })).toBe(true);
  // For want of space, or because KVM gave it up: it has run.
  for (const reason of ["ioerror", "unknown"] as const) expect(hasNeverRun({ state: "paused", reason })).toBe(false);
  expect(hasNeverRun({ state: "running", reason: "migrated" })).toBe(false);
});
