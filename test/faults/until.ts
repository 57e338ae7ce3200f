/** Waiting for a level, with a deadline that says what was seen last. */
import { formatError } from "../../src/lib/errors.ts";
import { sleep } from "../../src/lib/retry.ts";

/**
 * Asks again and again until `look` returns instead of throwing; past the deadline its last complaint is thrown. For facts
 * that no event tells of, or whose teller may be dead just now.
 */
export async function until<T>(what: string, deadlineMs: number, look: () => Promise<T> | T): Promise<T> {
  const end = performance.now() + deadlineMs;
  for (;;) {
    try {
      return await look();
    } catch (error) {
      if (performance.now() > end) {
        throw new Error(`${what}: not within ${Math.round(deadlineMs / 1000)} s: ${formatError(error)}`, {
          cause: error,
        });
      }
      await sleep(200);
    }
  }
}

/** For {@link until}: throws unless the condition holds. */
export function expectThat(condition: boolean, complaint: string): asserts condition {
  if (!condition) throw new Error(complaint);
}
