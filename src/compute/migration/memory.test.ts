/** What QEMU's words are taken for; that they come when they should is test/real/compute-migration-faults and migration-postcopy's business. */
import { expect, test } from "vitest";
import type { Whereabouts } from "../../core/migration/source.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import { feedOf, isKept, isReleased } from "./memory.ts";

const domain: DomainRef = { name: "ins-00000001", uuid: "00000000-0000-0000-0000-000000000000", id: 1 };
const at = (guest: Whereabouts) => ({ guest, neverRan: false, domain });
/** `query-migrate` of a QEMU that says this; nothing of it: it has never copied a guest. */
const says = (status?: string, error = {}) => ({
  qmp: () => Promise.resolve(status === undefined ? {} : { status, ...error }),
});
const isSilent = { qmp: () => Promise.reject(new Error("the monitor does not answer")) };

// qapi/migration.json of QEMU 10.0, each MigrationStatus.
const statuses = [
  ["none", "over"],
  ["setup", "copying"],
  ["cancelling", "copying"],
  ["cancelled", "over"],
  ["active", "copying"],
  ["postcopy-active", "flowing"],
  ["postcopy-paused", "broken"],
  ["postcopy-recover-setup", "joining"],
  ["postcopy-recover", "joining"],
  ["completed", "sent"],
  ["failed", "over"],
  ["colo", "not known"],
  ["pre-switchover", "copying"],
  ["device", "not known"],
  ["wait-unplug", "not known"],
] as const;

test.each(statuses)("a source that says %s is %s", async (status, is) => {
  const libvirt = says(status);
  expect(await isKept(libvirt, at("running"))).toBe(is === "copying" || is === "over");
  expect(await isReleased(libvirt, at("running"))).toBe(is === "over");
  const feed = is === "flowing" || is === "broken" || is === "joining" ? is : "none";
  expect((await feedOf(libvirt, at("paused"))).is).toBe(feed);
  const failed = says(status, { "error-desc": "postcopy_start: Migration stream error" });
  const isStuck = status === "device" || status === "cancelling";
  expect((await feedOf(failed, at("paused"))).is).toBe(isStuck ? "stuck" : feed);
});

test("one that has never copied a guest has kept it, whether it runs or not", async () => {
  for (const guest of ["running", "held", "paused"] as const) expect(await isKept(says(), at(guest))).toBe(true);
  expect(await isReleased(says(), at("running"))).toBe(true);
  // It may be one that waits for its memory here.
  expect(await isReleased(says(), at("paused"))).toBe(false);
});

test("where QEMU does not say it, or is not to be seen, nothing is known", async () => {
  expect(await isKept(isSilent, at("running"))).toBe(false);
  expect(await isReleased(isSilent, at("running"))).toBe(false);
  expect((await feedOf(isSilent, at("paused"))).is).toBe("unknown");
  for (const guest of ["unknown", "off"] as const) expect(await isKept(says("active"), at(guest))).toBe(false);
  expect((await feedOf(says("postcopy-active"), at("unknown"))).is).toBe("unknown");
  expect(await isReleased(says("none"), at("unknown"))).toBe(false);
});

test("of a guest that has ended here nothing goes anywhere", async () => {
  expect(await isReleased(isSilent, at("off"))).toBe(true);
  expect((await feedOf(isSilent, at("off"))).is).toBe("none");
});
