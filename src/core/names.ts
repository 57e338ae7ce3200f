/**
 * Names: of hosts, of guests, and of many instances at once.
 *
 * Names of many instances made by one request: `{R:x}` counts up from x, `{R:x,F:w}` does so padded to w digits; a name without a
 * pattern gets the running number from 1 appended when there is more than one. The CVM API's rules.
 */
import * as z from "zod";

const pattern = /\{R:(\d{1,9})(?:,F:(\d))?\}/g;

/** The name of the `index`-th (from 0) of `count` instances. */
export function nameAt(name: string, index: number, count: number): string {
  let found = false;
  const named = name.replaceAll(pattern, (_, start: string, width: string | undefined) => {
    found = true;
    return String(Number(start) + index).padStart(Number(width ?? 0), "0");
  });
  return found || count === 1 ? named : `${name}${index + 1}`;
}

const label = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/i;

/** What a host of VStation may be called. */
export const hostNameSchema = z
  .string()
  .regex(/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/, "lower-case letters, digits and inner hyphens, from 1 to 63 of them");

/** True for a name that DNS and DHCP carry: dotted labels of letters, digits and inner hyphens (RFC 1123), 64 characters at most. */
export function isHostname(name: string): boolean {
  return name.length <= 64 && name.split(".").every((part) => label.test(part));
}
