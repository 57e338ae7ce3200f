import { expect, test } from "vitest";
import { whereabouts } from "./look.ts";

test("a machine on its way out is no guest that runs here", () => {
  expect(whereabouts({ state: "running", reason: "migrated" })).toBe("running");
  // What libvirtd says for a moment of a machine that waited for its memory, when it throws it away.
  expect(whereabouts({ state: "shutting-down", reason: "unknown" })).toBe("unknown");
  expect(whereabouts({ state: "shutoff", reason: "unknown" })).toBe("off");
});
