/**
 * The story of one migration, line by line as its source's half lived it: what was asked, each look at the copy, each lever and why,
 * each step of the hand-over, the end. A line is a fact of its moment, and stands for good but for looks of a long story ({@link thin}). The
 * source's Compute writes it, VStation keeps it when the half has ended, and nothing decides by it but what the policy has decided already
 * (see {@link replay}).
 */
import { unreachable } from "../../lib/errors.ts";
import type { MigrationReason } from "./halves.ts";
import type { Prediction } from "./prediction.ts";
import { decideLever, type Decision, type Lever, type Look, type Plan, type Pulled, type Seen } from "./policy.ts";

/**
 * Steps of the hand-over in their order; between `paused` and `resumed` the guest runs nowhere. `paused` is as QEMU says, `heard` when
 * libvirt told of it: what lies between them is libvirt's. By post-copy `copied` comes after `resumed`, and between those two what was
 * `broken` is `rejoined`.
 */
export const storySteps = [
  "dialled",
  "prepared",
  "paused",
  "heard",
  "copied",
  "resumed",
  "broken",
  "rejoined",
  "confirmed",
] as const;
export type StoryStep = (typeof storySteps)[number];

export interface ToldLook extends Look {
  /** It is one of so many, of which the others were left out. Not there: it is for itself. */
  readonly stands?: number | undefined;
}

export type StoryLine =
  | ({ readonly is: "began"; readonly at: number } & Plan)
  /** Made from what was measured while the target got ready, before any memory moved. */
  | { readonly is: "foretold"; readonly at: number; readonly prediction: Prediction }
  | ToldLook
  | (Pulled & { readonly why: string })
  | { readonly is: "step"; readonly at: number; readonly step: StoryStep }
  | { readonly is: "stayed"; readonly at: number; readonly reason: MigrationReason; readonly message: string }
  | { readonly is: "left"; readonly at: number; readonly pauseMs: number | null };

/** What notable lines leave of it is for looks. */
export const storyLinesMax = 1_000;
/** Of a story that is thinned so many looks stay as they are, the newest, */
const newestLooks = 300;
/** and at most about so many are left of all before. */
const olderLooks = 300;

/**
 * A long story in fewer lines, from its beginning to its end: of the older looks one for each stretch of time, that at which the least of the
 * memory was left. The first one stays as it is, and so does each after which something happened; so between any two other lines the last look
 * and the lowest are what they were.
 */
export function thin(lines: readonly StoryLine[]): StoryLine[] {
  const looks = lines.filter((line) => line.is === "look");
  const [first, newest] = [looks[0], looks.at(-newestLooks)];
  if (first === undefined || newest === undefined) return [...lines];
  // In powers of two: each stretch of before lies within one of now. Those of other lengths would leave gaps, which grow each time.
  const stretchMs = 2 ** Math.ceil(Math.log2((newest.at - first.at) / olderLooks));
  const thinned: StoryLine[] = [];
  /** Of the last of them, where another look may join it. */
  let open: number | null = null;
  for (const [index, line] of lines.entries()) {
    const last = thinned.at(-1);
    const joins = line.is === "look" && line !== first && line.at < newest.at && lines[index + 1]?.is === "look";
    const stretch: number | null = joins ? Math.floor((line.at - first.at) / stretchMs) : null;
    if (joins && stretch === open && last?.is === "look") thinned[thinned.length - 1] = joined(last, line);
    else thinned.push(line);
    open = stretch;
  }
  return thinned;
}

function joined(one: ToldLook, other: ToldLook): ToldLook {
  const stands = (one.stands ?? 1) + (other.stands ?? 1);
  return { ...(other.remainingBytes < one.remainingBytes ? other : one), stands };
}

/** What was done, as people read it. */
export function leverWords(lever: Lever): string {
  switch (lever.pull) {
    case "throttle":
      return lever.percent === 0 ? "not slowed any more" : `slowed by ${lever.percent} %`;
    case "pause":
      return `a pause of ${Math.ceil(lever.limitMs)} ms is allowed, which is longer than aimed at`;
    case "postcopy":
      return "it is to go on at the target before all of its memory is there";
    case "give_up":
      return "given up";
    default:
      return unreachable(lever);
  }
}

/** What the policy answers today to each look of a story, beside what was done then. null: not all is there that it was shown then. */
export function replay(
  lines: readonly StoryLine[],
): { readonly then: Decision | null; readonly now: Decision | null }[] | null {
  if (lines.some((line) => line.is === "look" && line.stands !== undefined)) return null;
  let plan: Plan | null = null;
  const seen: Seen[] = [];
  const answers: { then: Decision | null; now: Decision | null }[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.is === "began") plan = line;
    if (line.is === "lever") seen.push(line);
    if (line.is !== "look" || plan === null) continue;
    seen.push(line);
    const next = lines[index + 1];
    const then = next?.is === "lever" ? { lever: next.lever, why: next.why } : null;
    answers.push({ then, now: decideLever(plan, seen) });
  }
  return answers;
}
