/** Waiting until disks, snapshots or an image are at rest, with a progress line; until.ts has the loop. */
import type { Context } from "./context.ts";
import { outOfReach, ProgressLine } from "./progress-line.ts";
import { waitUntil } from "./until.ts";

/** What one look found: null = at rest; else what is under way, in words. */
export interface Look {
  readonly underWay: string | null;
}

const lookEveryMs = 2_000;

export async function untilAtRest(
  context: Context,
  what: string,
  ids: readonly string[],
  look: (signal: AbortSignal) => Promise<Look>,
  timeoutMs: number,
): Promise<void> {
  const line = new ProgressLine(context);
  try {
    await waitUntil(context.client, {
      signal: context.io.signal,
      timeoutMs,
      everyMs: lookEveryMs,
      onBreak: () => line.show(outOfReach),
      concerns: ({ subjectId }) => ids.includes(subjectId),
      look: async (signal) => {
        const { underWay } = await look(signal);
        if (underWay !== null) line.show(`${what}: ${underWay}`);
        return underWay === null;
      },
      late: () => `${what} had not come about`,
    });
  } finally {
    line.end();
  }
}
