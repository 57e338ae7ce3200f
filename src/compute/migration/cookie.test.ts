import { expect, test } from "vitest";
import { decoded, encoded, withoutPreempt } from "./cookie.ts";

const cookie = (caps: string): Uint8Array => Buffer.from(`<qemu-migration>\n${caps}</qemu-migration>\n\0`);

test("the capability for pages that are waited for is taken out, and nothing else", () => {
  const [one, other] = ["<cap name='postcopy-ram' auto='no'/>", "<cap name='return-path' auto='no'/>"];
  const preempt = "<cap name='postcopy-preempt' auto='no'/>";
  expect(withoutPreempt(cookie(`${one}${preempt}${other}`))).toEqual(cookie(`${one}${other}`));
  expect(withoutPreempt(cookie(one))).toEqual(cookie(one));
});

test("a cookie comes over as it was", () => {
  expect(decoded(encoded(cookie("")))).toEqual(cookie(""));
});
