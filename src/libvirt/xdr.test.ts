import { expect, test } from "vitest";
import { XdrWriter } from "./xdr.ts";

test.each([
  ["uint", (to: XdrWriter) => to.uint(7), "00000007"],
  ["int", (to: XdrWriter) => to.int(-1), "ffffffff"],
  ["hyper", (to: XdrWriter) => to.hyper(-2n), "fffffffffffffffe"],
  ["uhyper", (to: XdrWriter) => to.uhyper(9n), "0000000000000009"],
  ["double", (to: XdrWriter) => to.double(1), "3ff0000000000000"],
] as const)("a %s that does not fit makes the buffer grow before it is written", (_, write, hex) => {
  const to = new XdrWriter(16);
  to.fixed(Buffer.alloc(16, 0xaa));
  write(to);
  expect(to.finish().toString("hex")).toBe("aa".repeat(16) + hex);
});
