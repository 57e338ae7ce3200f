/**
 * Whether a guest writes to disks that go along faster than they are copied behind it. What is left of them is sent while it is paused, and
 * nothing bounds that, so a guest that is far behind look after look must not come to its pause. Pure.
 */

/** What a mirror may have on its way at any time (QEMU's buffer): so much is no backlog. */
const onItsWayBytes = 16 * 2 ** 20;
/** One look may fall into a burst. */
export const looksBehind = 3;

/** What is left of the disks takes longer than a pause may at most, at the rate of the link. */
export function isBehind(
  remainingBytes: number,
  { bytesPerSecond, ceilingMs }: { readonly bytesPerSecond: number; readonly ceilingMs: number },
): boolean {
  return remainingBytes > Math.max(onItsWayBytes, (bytesPerSecond * ceilingMs) / 1_000);
}
