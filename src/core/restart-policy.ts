/**
 * When a guest that ended by itself is started again: at once the first time, then with growing delays, and not at all after
 * too many quick ends in a row, because a guest that dies on every start is not helped by a tenth one and hides its reason.
 * A guest that ran long enough has proven that its start is sound, and its count begins anew. An end that its host brought about
 * (it lost power, it was restarted) says nothing about the guest: it is started again at once, and nothing is counted.
 */

/** A run of at least this long is no quick end. */
export const stableMs = 120_000;

/** Delay before the n-th start in a row; past the end of the list it is a crash loop. */
export const restartDelaysMs: readonly number[] = [0, 2_000, 5_000, 15_000, 30_000];

export type RestartVerdict =
  | { is: "restart"; afterMs: number; quickEnds: number }
  | { is: "crash_loop"; quickEnds: number };

/**
 * `quickEnds` counts the quick ends before this one; `ranMs` is how long the incarnation that just ended ran; `by` is whose end it
 * was.
 */
export function decideRestart(quickEnds: number, ranMs: number, by: "guest" | "host"): RestartVerdict {
  if (by === "host") return { is: "restart", afterMs: 0, quickEnds };
  const before = ranMs >= stableMs ? 0 : quickEnds;
  const afterMs = restartDelaysMs[before];
  if (afterMs === undefined) return { is: "crash_loop", quickEnds: before };
  return { is: "restart", afterMs, quickEnds: before + 1 };
}
