/** Following the drain of a host with one live line: how many have moved, what is on its way, what waits, and which cannot and why. */
import type { HostWire } from "../api/native/resources.ts";
import type { HostId } from "../lib/ids.ts";
import { nextStep } from "./advice.ts";
import type { Context } from "./context.ts";
import { outOfReach, ProgressLine } from "./progress-line.ts";
import { printable } from "./table.ts";
import { waitUntil } from "./until.ts";

type Drain = NonNullable<HostWire["drain"]>;
type Left = Drain["left"][number];

const slowLookMs = 2_000;

/** The host when nothing of its drain moves any more, by itself or at all. Throws `timeout` when that takes too long. */
export async function waitForDrain(context: Context, id: HostId, timeoutMs: number): Promise<HostWire> {
  const { client, io } = context;
  const line = new ProgressLine(context);
  const said = new Set<string>();
  let latest: HostWire | undefined;
  try {
    await waitUntil(client, {
      signal: io.signal,
      timeoutMs,
      everyMs: slowLookMs,
      onBreak: () => line.rewrite(outOfReach),
      concerns: ({ subject, subjectId }) => subjectId === id || subject === "migration",
      look: async (signal) => {
        latest = await client.call("hostGet", { params: { id } }, { signal });
        const { drain } = latest;
        if (drain === null) return true;
        for (const text of of(drain, "stuck").map(stuckText)) {
          if (!said.has(text)) context.say(printable(text));
          said.add(text);
        }
        line.show(`${latest.name} drain: ${drainText(drain)}`);
        return of(drain, "moving").length + of(drain, "queued").length === 0;
      },
      late: () => `the drain of ${id} had not ended`,
    });
  } finally {
    line.end();
  }
  if (latest === undefined) throw new Error("a wait ended well without a look");
  return latest;
}

/** No guest runs there. */
export function isDrained({ left }: Drain): boolean {
  return left.every(({ is }) => is === "stopped");
}

export function drainText(drain: Drain): string {
  const { moved, left } = drain;
  const stopped = of(drain, "stopped").length;
  const words = [`${moved} of ${moved + left.length - stopped} moved`];
  for (const [is, text] of [
    ["moving", "on their way"],
    ["queued", "waiting"],
    ["stuck", "cannot move"],
    ["stopped", "stopped"],
  ] as const) {
    const count = of(drain, is).length;
    if (count > 0) words.push(`${count} ${text}`);
  }
  return words.join(", ");
}

/** Which it is, and why it cannot. */
export function stuckText({ instanceId, reason }: Left): string {
  if (reason === null) return `${instanceId} cannot move: nobody has said why`;
  const next = nextStep(reason.code);
  return `${instanceId} cannot move: ${reason.message} (${reason.code})${next === undefined ? "" : `; next: ${next}`}`;
}

export function of(drain: Drain, is: Left["is"]): Left[] {
  return drain.left.filter((one) => one.is === is);
}
