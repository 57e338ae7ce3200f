/** Quotas: the rule that decides, over any amounts. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { exceeded, exceededText, limitsOf, quotaNames, quotas } from "./quotas.ts";

const amount = fc.integer({ min: 0, max: 1000 });
const amounts = fc.dictionary(fc.constantFrom(...quotaNames), amount);

describe("a quota", () => {
  it("is passed exactly when what is there and what is asked for are more than the limit", () =>
    fc.assert(
      fc.property(amounts, amounts, amounts, (limits, used, asked) => {
        const over = quotaNames.filter(
          (name) =>
            (asked[name] ?? 0) > 0 &&
            limits[name] !== undefined &&
            (used[name] ?? 0) + (asked[name] ?? 0) > limits[name],
        );
        expect(exceeded(limits, used, asked)?.quota).toBe(over[0]);
      }),
    ));

  it("is the account's own where it has one, zero included, else the default", () => {
    expect(limitsOf({ disks: 0 })).toMatchObject({ disks: 0, vpcs: quotas.vpcs.default });
    expect(Object.keys(limitsOf({}))).toEqual(quotaNames);
  });

  it("says what is there, what is asked for and what may be", () => {
    const over = exceeded({ keys: 3 }, { keys: 2 }, { keys: 2 });
    expect(over && exceededText(over)).toBe("the account may have 3 key pairs; it has 2 and asks for 2 more");
  });
});
