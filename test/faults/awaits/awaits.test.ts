import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { allAwaits, awaitsIn, instrument, isProgram, withoutTypes } from "./list.ts";
import { exempt, readReach, victimsAt } from "./reach.ts";
import { awaitName, batchesOf } from "./run.ts";

const all = allAwaits();
const reach = readReach();

describe("every await of the programs", () => {
  it("has a name of its own", () => {
    expect(all.length).toBeGreaterThan(500);
    expect(new Set(all).size).toBe(all.length);
  });

  it("has a walk on which something is killed at it, or a reason why not", () => {
    // A new one: `npm run test:faults -- --record` finds its walk. None finds it: extend a walk, or say why in reach.ts.
    const excused = (step: string): boolean => exempt.some(([prefix]) => step.startsWith(prefix));
    expect(all.filter((step) => reach[step] === undefined && !excused(step))).toEqual([]);
  });

  it("is spoken of only while it is there", () => {
    const known = new Set(all);
    expect(Object.keys(reach).filter((step) => !known.has(step))).toEqual([]);
    const stale = exempt.filter(
      ([prefix]) => !all.some((step) => step.startsWith(prefix) && reach[step] === undefined),
    );
    expect(stale).toEqual([]);
  });

  it("is struck once with each victim at each moment", () => {
    const names = batchesOf(reach, () => true).flatMap((batch) => batch.steps.map((step) => awaitName(batch, step)));
    expect(new Set(names).size).toBe(names.length);
    const firsts = Object.values(reach).filter((which) => which === "first").length;
    const expected = Object.keys(reach).reduce((sum, step) => {
      const victims = reach[step] === "first" ? 1 : victimsAt(step).length;
      return sum + 2 * victims;
    }, 0);
    expect(firsts).toBeGreaterThan(0);
    expect(names.length).toBe(expected);
  });
});

describe("finding awaits", () => {
  it("names them by what they stand in", () => {
    const code = `
      export async function plain() { await a(); await b(await c()); }
      class K { async #m() { return [1].map(async () => await d()); } field = async () => { await e(); }; }
      const verbs = { async run() { for await (const x of f()) await x; } };
      await top;`;
    expect(
      awaitsIn("x.ts", code)
        .map(({ name }) => name)
        .toSorted(),
    ).toEqual([
      "x.ts#K.#m/1",
      "x.ts#K.field/1",
      "x.ts#module/1",
      "x.ts#plain/1",
      "x.ts#plain/2",
      "x.ts#plain/3",
      "x.ts#run/1",
      "x.ts#run/2",
    ]);
  });

  it("knows the programs from what only tests them", () => {
    const files = ["vstation/app/keys.ts", "vstation/app/keys.test.ts", "cli/main.ts", "libvirt/testing/peer.ts"];
    expect(files.filter(isProgram)).toEqual(["vstation/app/keys.ts"]);
  });
});

/** Programs of nested awaits whose value is known. */
const program: fc.Arbitrary<{ code: string; value: number; awaits: number }> = fc.letrec<{
  expression: { code: string; value: number; awaits: number };
}>((tie) => ({
  expression: fc.oneof(
    { maxDepth: 4 },
    fc.integer({ min: 0, max: 9 }).map((n) => ({ code: String(n), value: n, awaits: 0 })),
    tie("expression").map((x) => ({ code: `await Promise.resolve(${x.code})`, value: x.value, awaits: x.awaits + 1 })),
    fc.tuple(tie("expression"), tie("expression")).map(([x, y]) => ({
      code: `await add(${x.code}, ${y.code})`,
      value: x.value + y.value,
      awaits: x.awaits + y.awaits + 1,
    })),
    tie("expression").map((x) => ({ code: `(await (async () => ${x.code})())`, value: x.value, awaits: x.awaits + 1 })),
  ),
})).expression;

describe("passing awaits through a function", () => {
  it("calls it once for each, and changes nothing else", async () => {
    await fc.assert(
      fc.asyncProperty(program, async ({ code, value, awaits }) => {
        const text = withoutTypes(`async function main() { return ${code}; }`);
        const seen: string[] = [];
        const pass = (step: string, awaited: unknown): unknown => {
          seen.push(step);
          return awaited;
        };
        const add = async (a: number, b: number): Promise<number> => a + b;
        const main = `${instrument("p.ts", text, "pass")}; main()`;
        expect(await (runInNewContext(main, { pass, add }) as Promise<number>)).toBe(value);
        expect(seen.toSorted()).toEqual(
          awaitsIn("p.ts", text)
            .map(({ name }) => name)
            .toSorted(),
        );
        expect(seen).toHaveLength(awaits);
      }),
    );
  });
});
