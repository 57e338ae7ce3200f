/** What was foretold of a move beside what came of it, from its story alone. Pure; nothing decides by it. */
import { forecast } from "./forecast.ts";
import type { Look } from "./policy.ts";
import { caution, dirtied, type Prediction } from "./prediction.ts";
import type { StoryLine } from "./story.ts";

/** null: it did not come, or the story does not tell. */
export interface Beside {
  readonly foretold: number;
  readonly came: number | null;
}

export interface Comparison {
  /** Different bytes of its memory that the guest changes within a second. */
  readonly dirtyBytesPerSecond: Beside;
  readonly linkBytesPerSecond: Beside;
  /** This and the pause: by the move's policy. */
  readonly copyMs: Beside;
  readonly pauseMs: Beside;
}

/** null: nothing was foretold. */
export function compareForetold(lines: readonly StoryLine[]): Comparison | null {
  const foretold = lines.findLast((line) => line.is === "foretold");
  if (foretold === undefined) return null;
  const { prediction } = foretold;
  const began = lines.find((line) => line.is === "began");
  const planned = (began === undefined ? null : forecast(prediction, began)) ?? prediction;
  const looks = lines.filter((line) => line.is === "look");
  const paused = lines.find((line) => line.is === "step" && line.step === "paused");
  const left = lines.find((line) => line.is === "left");
  const copyFrom = beganAt(looks) ?? foretold.at;
  return {
    dirtyBytesPerSecond: { foretold: plannedRate(prediction), came: usual(looks.map((l) => l.dirtyBytesPerSecond)) },
    linkBytesPerSecond: {
      foretold: prediction.linkBytesPerSecond,
      came: usual(looks.map(({ bytesPerSecond }) => bytesPerSecond)),
    },
    copyMs: { foretold: planned.copyMs, came: paused === undefined ? null : paused.at - copyFrom },
    pauseMs: { foretold: planned.pauseMs, came: left?.pauseMs ?? null },
  };
}

/** QEMU counts its dirtied pages over a second or a pass, whichever is longer; so is this, and with the caution that the plan is made with. */
function plannedRate({ curve }: Prediction): number {
  return dirtied({ ...curve, bytesPerSecond: caution * curve.bytesPerSecond }, 1);
}

/** Where disks went over before the memory its first look alone tells when that began. */
function beganAt(looks: readonly Look[]): number | undefined {
  const first = looks.find(({ pass }) => pass === 1);
  return first === undefined ? undefined : first.at - first.passMs;
}

/** The median; QEMU says 0 before it has counted for a while. */
function usual(values: readonly number[]): number | null {
  const told = values.filter((value) => value > 0).toSorted((a, b) => a - b);
  return told[Math.floor(told.length / 2)] ?? null;
}
