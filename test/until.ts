/** Waiting for a level in a test, for what no event tells of: the one way for all of them. */
import { formatError } from "../src/lib/errors.ts";
import { sleep } from "../src/lib/retry.ts";

/**
 * Looks again and again, often at first, until there is an answer, and gives it. False and undefined are none yet; nor is a throw: who
 * would tell may be dead just now, and what it says is in the error when the patience is over.
 */
export async function until<T>(
  what: string,
  look: () => Promise<T | false | undefined> | T | false | undefined,
  patienceMs = 30_000,
): Promise<T> {
  const start = performance.now();
  for (;;) {
    let complaint: unknown;
    try {
      const answer = await look();
      if (answer !== undefined && answer !== false) return answer;
    } catch (error) {
      complaint = error;
    }
    const waited = performance.now() - start;
    if (waited > patienceMs) {
      const last = complaint === undefined ? "" : `: ${formatError(complaint)}`;
      throw new Error(`waited ${Math.round(waited)} ms in vain for: ${what}${last}`, { cause: complaint });
    }
    await sleep(Math.min(Math.max(10, waited / 10), 200));
  }
}

/** For what {@link until} looks at: throws unless the condition holds. */
export function expectThat(condition: boolean, complaint: string): asserts condition {
  if (!condition) throw new Error(complaint);
}
