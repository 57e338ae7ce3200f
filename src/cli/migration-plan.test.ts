import { expect, it } from "vitest";
import { forecast } from "../core/migration/forecast.ts";
import { migrationPolicies } from "../core/migration/policy.ts";
import { expectedText } from "./migration-plan.ts";

const mib = 2 ** 20;
const link = { memoryBytes: 400 * mib, linkBytesPerSecond: 100 * mib, limitMs: 30, fixedMs: 20 };

const told = (bytesPerSecond: number, workingSetBytes: number, ceilingMs: number): Record<string, string> =>
  Object.fromEntries(
    migrationPolicies.map((policy) => {
      const found = forecast({ ...link, curve: { bytesPerSecond, workingSetBytes } }, { policy, ceilingMs })!;
      return [policy, expectedText(found, policy)];
    }),
  );

it("promises by each policy no more than that does", () => {
  expect(told(90 * mib, 400 * mib, 300)).toMatchInlineSnapshot(`
    {
      "finish": "when it is slowed to 83 MiB/s of writes: copied in 11.4 s by 9 rounds, then paused for at most 264 ms",
      "gentle": "only in a quiet time, with at most 80 MiB/s of writes (--policy throttle or finish slows it to that): copied in 11.7 s by 18 rounds, then paused for about 45 ms",
      "postcopy": "copied in 7.3 s by 2 rounds, then it goes on at the target, paused for about 20 ms, and the rest is fetched in 3.1 s",
      "throttle": "when it is slowed to 80 MiB/s of writes: copied in 11.7 s by 18 rounds, then paused for about 45 ms",
    }
  `);
  // Where nothing has to be done the policy says nothing.
  expect(new Set(Object.values(told(mib, 400 * mib, 300)))).toEqual(new Set([expect.stringMatching(/^copied in /)]));
});

it("tells whether it fits into the ceiling, and into the time in which it may fetch", () => {
  const { finish, postcopy } = told(300 * mib, 100 * mib, 5_000);
  expect([finish, postcopy]).toMatchInlineSnapshot(`
    [
      "copied in 4.0 s by 1 round, then paused for about 1020 ms, which the ceiling allows; shorter where slowing it helps, which is tried first",
      "copied in 4.0 s by 1 round, then it goes on at the target, paused for about 20 ms, and the rest is fetched in 1.0 s",
    ]
  `);
  // Far more than its processors may be made to rest, and 32 s to be fetched.
  const far = told(4_000 * mib, 400 * mib, 300);
  expect([far["throttle"], far["finish"]]).toMatchInlineSnapshot(`
    [
      "when it is slowed to 80 MiB/s of writes, by 99 %, which is more than the 90 % of --policy throttle: copied in 11.7 s by 18 rounds, then paused for about 45 ms",
      "when it is slowed to 83 MiB/s of writes, by 99 %, which is more than the 80 % of --policy finish: copied in 11.4 s by 9 rounds, then paused for at most 264 ms",
    ]
  `);
  const slow = {
    ...link,
    linkBytesPerSecond: 12 * mib,
    curve: { bytesPerSecond: 4_000 * mib, workingSetBytes: 400 * mib },
  };
  const late = forecast(slow, { policy: "postcopy", ceilingMs: 300 })!;
  expect(expectedText(late, "postcopy")).toMatchInlineSnapshot(
    `"only in a quiet time, with at most 9.6 MiB/s of writes: copied in 97.8 s by 27 rounds, then paused for about 46 ms; else it stays: the rest would take 33.3 s to be fetched, and with more than 30 s it does not go on at the target"`,
  );
});
