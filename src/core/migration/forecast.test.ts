import fc from "fast-check";
import { expect, test } from "vitest";
import { forecast } from "./forecast.ts";
import { longestFetchMs, migrationPolicies } from "./policy.ts";
import { caution, dirtied, predict, shortestRoundMs } from "./prediction.ts";

const mib = 2 ** 20;
const gib = 2 ** 30;

/** As in the story of docs/migration.md: 16 MiB over and over, through a cable of 100 Mbit/s. */
const cable = {
  memoryBytes: 340 * mib,
  curve: { bytesPerSecond: 200 * mib, workingSetBytes: 16 * mib },
  linkBytesPerSecond: 12 * mib,
  limitMs: 30,
  fixedMs: 20,
};

test("of a guest that writes too fast is by finish the pause that the rest takes, where the ceiling allows it", () => {
  const fits = forecast(cable, { policy: "finish", ceilingMs: 5_000 })!;
  // The whole working set goes over in it.
  expect(fits.verdict).toEqual({ is: "pause" });
  expect(fits.pauseMs - cable.fixedMs).toBeGreaterThan(1_300);
  expect(fits.pauseMs - cable.fixedMs).toBeLessThan(1_334);
  expect(fits.limitMs).toBe(1_467);
  const tooLow = forecast(cable, { policy: "finish", ceilingMs: 1_000 })!;
  expect(tooLow).toMatchObject({ verdict: { is: "brake" }, limitMs: 1_000 });
  // With a longer pause it need be slowed less.
  expect(tooLow.verdict).not.toEqual(predict(cable)!.verdict);
  for (const policy of ["gentle", "throttle"] as const)
    expect(forecast(cable, { policy, ceilingMs: 5_000 })).toEqual(predict(cable));
});

test("is by postcopy what the rest takes to be fetched, and none where that is longer than it may be", () => {
  const fast = forecast(cable, { policy: "postcopy", ceilingMs: 300 })!;
  if (fast.verdict.is !== "fetch") throw new Error("it is not fetched");
  expect(fast.verdict.fetchMs).toBeGreaterThan(1_300);
  expect(fast.verdict.fetchMs).toBeLessThan(1_334);
  expect(fast.pauseMs).toBe(cable.fixedMs);
  const memoryBytes = 2 * gib;
  const large = { ...cable, memoryBytes, curve: { bytesPerSecond: gib, workingSetBytes: gib } };
  const late = forecast(large, { policy: "postcopy", ceilingMs: 300 })!;
  const { verdict: _, ...unaided } = predict(large)!;
  expect(late).toMatchObject({ ...unaided, verdict: { is: "fetch_too_long" } });
});

const inputs = fc.record({
  memoryBytes: fc.double({ min: 16 * mib, max: 64 * gib, noNaN: true }),
  curve: fc.record({
    bytesPerSecond: fc.double({ min: mib, max: 10 * gib, noNaN: true }),
    workingSetBytes: fc.double({ min: mib, max: 64 * gib, noNaN: true }),
  }),
  linkBytesPerSecond: fc.double({ min: mib, max: 10 * gib, noNaN: true }),
  limitMs: fc.double({ min: 5, max: 30, noNaN: true }),
  fixedMs: fc.constant(20),
});
const ceilings = fc.integer({ min: 30, max: 60_000 });

const found = fc
  .record({ input: inputs, policy: fc.constantFrom(...migrationPolicies), ceilingMs: ceilings })
  .map((how) => ({
    ...how,
    unaided: predict(how.input)!,
    told: forecast(how.input, how)!,
  }));

test("of a calm guest is what was predicted, whatever the policy is", () => {
  fc.assert(
    fc.property(
      found.filter(({ unaided }) => unaided.verdict.is === "converges"),
      ({ told, unaided }) => {
        expect(told).toEqual(unaided);
      },
    ),
  );
});

test("keeps to the ceiling, and to the rule of fetching", () => {
  const allowed = {
    gentle: ["converges", "brake"],
    throttle: ["converges", "brake"],
    finish: ["converges", "brake", "pause"],
    postcopy: ["converges", "fetch", "fetch_too_long"],
  };
  fc.assert(
    fc.property(found, ({ input, policy, ceilingMs, told: { verdict, limitMs, fixedMs, pauseMs } }) => {
      expect(limitMs).toBeLessThanOrEqual(policy === "finish" ? ceilingMs : input.limitMs);
      expect(pauseMs).toBeLessThanOrEqual(limitMs + fixedMs + 1e-6);
      expect(allowed[policy]).toContain(verdict.is);
      expect("fetchMs" in verdict && verdict.fetchMs > longestFetchMs).toBe(verdict.is === "fetch_too_long");
    }),
  );
});

test("by finish does not get worse with a higher ceiling", () => {
  fc.assert(
    fc.property(inputs, ceilings, ceilings, (input, one, other) => {
      const is = (ceilingMs: number) => forecast(input, { policy: "finish", ceilingMs })!.verdict.is;
      const low = is(Math.min(one, other));
      expect(low === "brake" || is(Math.max(one, other)) === low).toBe(true);
    }),
  );
});

test("knows what the rounds do not get below", () => {
  fc.assert(
    fc.property(inputs, ({ curve, linkBytesPerSecond: link }) => {
      const written = { ...curve, bytesPerSecond: caution * curve.bytesPerSecond };
      const seconds = shortestRoundMs(written, link) / 1_000;
      expect(seconds > 0).toBe(written.bytesPerSecond > link);
      // A round of this length leaves one of this length.
      expect(dirtied(written, seconds) / link).toBeCloseTo(seconds, 3);
    }),
  );
});
