import { expect, it } from "vitest";
import { migrationPolicies } from "../core/migration/policy.ts";
import { predict } from "../core/migration/prediction.ts";
import { expectedText } from "./migration-plan.ts";

const mib = 2 ** 20;
const link = { memoryBytes: 400 * mib, linkBytesPerSecond: 100 * mib, limitMs: 30, fixedMs: 20 };

it("promises by each policy no more than that does", () => {
  const fast = predict({ ...link, curve: { bytesPerSecond: 90 * mib, workingSetBytes: 400 * mib } })!;
  const calm = predict({ ...link, curve: { bytesPerSecond: mib, workingSetBytes: 400 * mib } })!;
  const told = (prediction: typeof fast): Record<string, string> =>
    Object.fromEntries(migrationPolicies.map((policy) => [policy, expectedText(prediction, policy)]));
  expect(told(fast)).toMatchInlineSnapshot(`
    {
      "finish": "when it is slowed to 80 MiB/s of writes: copied in 11.7 s by 18 rounds, then paused for about 45 ms",
      "gentle": "only in a quiet time, with at most 80 MiB/s of writes (--policy throttle or finish slows it to that): copied in 11.7 s by 18 rounds, then paused for about 45 ms",
      "postcopy": "in a quiet time, with at most 80 MiB/s of writes, or it goes on at the target before all of its memory is there: copied in 11.7 s by 18 rounds, then paused for about 45 ms",
      "throttle": "when it is slowed to 80 MiB/s of writes: copied in 11.7 s by 18 rounds, then paused for about 45 ms",
    }
  `);
  // Where nothing has to be done the policy says nothing.
  expect(new Set(Object.values(told(calm)))).toEqual(new Set([expect.stringMatching(/^copied in /)]));
});
