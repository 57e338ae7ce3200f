import { expect, it } from "vitest";
import { AuditRepeats } from "./audit-repeats.ts";
import type { AuditEntry } from "./audit.ts";

const read: AuditEntry = {
  at: new Date(0),
  edge: "native",
  action: "operationGet",
  changes: false,
  accountId: null,
  actor: "operator",
  resourceIds: ["op-aaaaaaa1"],
  source: "127.0.0.1",
  agent: "node",
  requestId: "request-1",
};
const minute = 60_000;

it("the same read is told once, and again when it goes on for long", () => {
  const repeats = new AuditRepeats();
  const told: number[] = [];
  for (let now = 0; now < 30 * minute; now += 1_000) {
    const again = { ...read, requestId: `request-${now}`, at: new Date(now) };
    if (repeats.has(again, "ok", now)) continue;
    repeats.add(again, "ok", now);
    told.push(now / minute);
  }
  expect(told).toEqual([0, 10, 20]);
});

it("what differs in who, where, what or how it ended is another", () => {
  const repeats = new AuditRepeats();
  repeats.add(read, "ok", 0);
  const others: [Partial<AuditEntry>, string][] = [
    [{ actor: "AKID0" }, "ok"],
    [{ accountId: "acct-aaaaaaa1" }, "ok"],
    [{ source: "192.0.2.1" }, "ok"],
    [{ agent: "curl" }, "ok"],
    [{ resourceIds: ["op-aaaaaaa2"] }, "ok"],
    [{ resourceIds: [] }, "ok"],
    [{ action: "operationList" }, "ok"],
    [{ edge: "cvm" }, "ok"],
    [{}, "OperationNotFound"],
  ];
  for (const [change, outcome] of others) expect(repeats.has({ ...read, ...change }, outcome, 1)).toBe(false);
  expect(repeats.has({ ...read }, "ok", 1)).toBe(true);
});

it("is bounded, and silences nothing for longer when the clock is put back", () => {
  const repeats = new AuditRepeats();
  const of = (n: number): AuditEntry => ({ ...read, resourceIds: [`op-${n}`] });
  for (let n = 0; n < 10_001; n++) repeats.add(of(n), "ok", minute);
  expect(repeats.has(of(0), "ok", minute)).toBe(false);
  expect(repeats.has(of(1), "ok", minute)).toBe(true);
  expect(repeats.has(of(1), "ok", 0)).toBe(false);
});
