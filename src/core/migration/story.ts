/**
 * The story of one migration, line by line as its source's half lived it: what was asked, each look at the copy, each lever and why,
 * each step of the hand-over, the end. Only ever added to; a line is a fact of its moment. The source's Compute writes it, VStation
 * keeps it when the half has ended, and nothing decides by it but what the policy has decided already (see {@link replay}).
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

export type StoryLine =
  | ({ readonly is: "began"; readonly at: number } & Plan)
  /** Made from what was measured while the target got ready, before any memory moved. */
  | { readonly is: "foretold"; readonly at: number; readonly prediction: Prediction }
  | Look
  | (Pulled & { readonly why: string })
  | { readonly is: "step"; readonly at: number; readonly step: StoryStep }
  | { readonly is: "stayed"; readonly at: number; readonly reason: MigrationReason; readonly message: string }
  | { readonly is: "left"; readonly at: number; readonly pauseMs: number | null };

/** What notable lines leave of it is for looks: a quarter of an hour of them, at one a second. */
export const storyLinesMax = 1_000;

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

/** What the policy answers today to each look of a story, beside what was done then. */
export function replay(
  lines: readonly StoryLine[],
): { readonly then: Decision | null; readonly now: Decision | null }[] {
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
