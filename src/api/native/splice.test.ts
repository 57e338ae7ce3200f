import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { after, overlap } from "./splice.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);
const text = (data: Uint8Array): string => new TextDecoder().decode(data);
const output = fc.string({ unit: fc.constantFrom("a", "b", "\n"), maxLength: 60 });

describe("joining past and present output", () => {
  it("finds the overlap that there is", () => {
    expect(overlap(bytes("boot\nlogin: "), bytes("login: root"))).toBe(7);
    expect(overlap(bytes("boot"), bytes("next"))).toBe(0);
    expect(overlap(bytes(""), bytes("x"))).toBe(0);
  });

  it("never leaves a hole and never takes more than fits", () => {
    fc.assert(
      fc.property(output, output, output, (before, between, later) => {
        const history = bytes(before + between);
        const live = bytes(between + later);
        const length = overlap(history, live);
        expect(length).toBeGreaterThanOrEqual(between.length);
        expect(text(history).endsWith(text(live.subarray(0, length)))).toBe(true);
      }),
    );
  });

  it("goes on after what was shown, or shows all of a log that begins anew", () => {
    expect(text(after(bytes("one two "), bytes("one two three")))).toBe("three");
    expect(text(after(bytes("older "), bytes("a new log")))).toBe("a new log");
    expect(text(after(bytes(""), bytes("all")))).toBe("all");
  });

  it("gives what was written since, whatever was written, when the tail is unlike what follows", () => {
    fc.assert(
      fc.property(output, output, (shown, later) => {
        const all = bytes(`${shown}#${later}`);
        expect(text(after(bytes(`${shown}#`), all))).toBe(later);
      }),
    );
  });
});
