/** SHA-512-crypt against the specification's vectors and, for any password, against openssl. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { sha512Crypt } from "./sha512-crypt.ts";

describe("sha512-crypt", () => {
  it("is what the specification says", () => {
    expect(sha512Crypt("Hello world!", "saltstring")).toBe(
      "$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1",
    );
  });

  it("is what openssl makes of any password and salt", () => {
    const salt = fc.string({
      unit: fc.constantFrom(".", "/", "0", "9", "A", "Z", "a", "z"),
      minLength: 1,
      maxLength: 16,
    });
    const password = fc.string({ minLength: 1, maxLength: 70 }).filter((text) => !/[\0\n]/.test(text));
    fc.assert(
      fc.property(password, salt, (given, with_) => {
        const theirs = execFileSync("openssl", ["passwd", "-6", "-salt", with_, "-stdin"], { input: `${given}\n` });
        expect(sha512Crypt(given, with_)).toBe(theirs.toString().trim());
      }),
      { numRuns: 25 },
    );
  });

  it("has a salt of its own each time", () => {
    const [one, two] = [sha512Crypt("a"), sha512Crypt("a")];
    expect(one).toMatch(/^\$6\$[./0-9A-Za-z]{16}\$[./0-9A-Za-z]{86}$/);
    expect(one).not.toBe(two);
  });
});
