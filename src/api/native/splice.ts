/** Joining what a console has said before with what it says now, neither twice nor with a hole. */

/**
 * How many first bytes of `live` the end of `history` already holds. The log is read after the live stream was opened, so
 * the two overlap by what came in between; the longest fit is taken. Repetitive output may fit by chance: a line too few
 * once, in a window of milliseconds, is better than every prompt twice.
 */
export function overlap(history: Uint8Array, live: Uint8Array): number {
  for (let length = Math.min(history.length, live.length); length > 0; length--) {
    if (equal(history.subarray(history.length - length), live.subarray(0, length))) return length;
  }
  return 0;
}

/** What `history` says after what was `shown` last; all of it when the log does not hold that (any more). */
export function after(shown: Uint8Array, history: Uint8Array): Uint8Array {
  const tail = shown.subarray(Math.max(0, shown.length - 512));
  if (tail.length === 0) return history;
  for (let end = history.length; end >= tail.length; end--) {
    if (equal(history.subarray(end - tail.length, end), tail)) return history.subarray(end);
  }
  return history;
}

function equal(a: Uint8Array, b: Uint8Array): boolean {
  // From the end: neighbours in a log differ most at what was written last.
  for (let i = a.length - 1; i >= 0; i--) if (a[i] !== b[i]) return false;
  return a.length === b.length;
}
