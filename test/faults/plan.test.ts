import { expect, it } from "vitest";
import { nestedCase } from "./nested.ts";
import { isNamed, namesOf, onceOf, planOf, seriesOf } from "./plan.ts";
import { roundOf } from "./tally.ts";

const only = (text: string): string[] => namesOf(planOf(2, (name) => isNamed(name, text)));

it("names everything once, and each either once or by its rounds", () => {
  const plan = planOf(2, () => true);
  const names = namesOf(plan);
  expect(new Set(names).size).toBe(names.length);
  const rounds = seriesOf(plan).flatMap((series) => [1, 2].map((round) => roundOf(series, round)));
  expect([...onceOf(plan), ...rounds].toSorted()).toEqual(names.toSorted());
});

it("leaves out what is not wanted, the move between nested hosts as well", () => {
  expect(only("move/").filter((name) => !name.startsWith("move/"))).toEqual([]);
  expect(only("move/").length).toBeGreaterThan(100);
  expect(only("nested/")).toEqual([nestedCase]);
  expect(namesOf(planOf(1, (name) => name !== nestedCase))).not.toContain(nestedCase);
  expect(only("")).toContain(nestedCase);
  expect(only("target/qemu").every((name) => name.includes("/target/qemu/"))).toBe(true);
  expect(only("target/qemu").length).toBeGreaterThan(0);
});
