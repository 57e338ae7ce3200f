/**
 * The story of a move as a picture: what was left of the guest's memory, how fast it changed and was sent, what was done to the guest, and, where
 * somebody heard its beats, for how long it was silent. From the story alone: what nobody looked at is not drawn. Pure.
 */
import { drawPlot, type Band, type Mark, type Panel } from "../../lib/plot.ts";
import { compareForetold } from "./foretold.ts";
import type { Look } from "./policy.ts";
import { leverWords, type StoryLine } from "./story.ts";

/** The guest was not heard for `ms` from `at` on, which is on the story's clock. */
export interface Silence {
  readonly at: number;
  readonly ms: number;
}

export interface Pictured {
  readonly title: string;
  readonly lines: readonly StoryLine[];
  /** As an observer beside both hosts heard it; null: nobody did. */
  readonly silences: readonly Silence[] | null;
  /** How it was made, below it. */
  readonly notes: readonly string[];
}

const mib = 2 ** 20;

/** null: there is no story. */
export function drawMigration({ title, lines, silences, notes }: Pictured): string | null {
  const [first] = lines;
  const last = lines.at(-1);
  if (first === undefined || last === undefined) return null;
  const second = (at: number): number => (at - first.at) / 1_000;
  const looks = lines.filter((line) => line.is === "look");
  const heardTo = Math.max(0, ...(silences ?? []).map(({ at, ms }) => second(at + ms)));
  const to = Math.max(second(last.at), heardTo);
  const panels: Panel[] = [
    {
      ...{ title: "memory that remains", unit: "MiB", scale: "linear", reach: 1 },
      series: [{ name: "remains", as: "line", points: remaining(looks, lines).map(([at, y]) => [second(at), y]) }],
    },
    {
      ...{ title: "rates", unit: "MiB/s", scale: "linear", reach: 1 },
      series: [
        { name: "the guest changes", as: "line", points: rates(looks, second, (look) => look.dirtyBytesPerSecond) },
        { name: "is sent", as: "line", points: rates(looks, second, (look) => look.bytesPerSecond) },
      ],
    },
    {
      ...{ title: "the guest is slowed", unit: "% of its time", scale: "linear", reach: 100 },
      series: [{ name: "slowed", as: "step", points: slowed(lines).map(([at, y]) => [second(at), y]) }],
    },
  ];
  if (silences !== null) {
    panels.push({
      ...{ title: "silence of the guest's beat", unit: "ms, logarithmic", scale: "log", reach: 100 },
      series: [
        {
          ...{ name: "silence", as: "spans" },
          spans: silences.map(({ at, ms }) => ({ from: second(at), to: second(at + ms), y: ms })),
        },
      ],
    });
  }
  return drawPlot({
    title,
    description: `One below the other over time: ${panels.map((panel) => `${panel.title} (${panel.unit})`).join(", ")}`,
    x: { name: `seconds since ${new Date(first.at).toISOString()}`, to },
    panels,
    bands: pauseOf(lines, second),
    marks: marksOf(lines, second),
    notes: [endOf(last), ...foretoldNotes(lines), ...notes],
  });
}

type Points = [at: number, y: number][];

/** From all of it to nothing, where its beginning and its end are known. */
function remaining(looks: readonly Look[], lines: readonly StoryLine[]): Points {
  const points: Points = looks.map(({ at, remainingBytes }) => [at, remainingBytes / mib]);
  const [first] = looks;
  if (first?.pass === 1) points.unshift([first.at - first.passMs, first.totalBytes / mib]);
  const copied = lines.find((line) => line.is === "step" && line.step === "copied");
  if (copied !== undefined && points.length > 0) points.push([copied.at, 0]);
  return points;
}

/** QEMU says 0 until it has counted. */
function rates(looks: readonly Look[], second: (at: number) => number, of: (look: Look) => number): Points {
  const counted = looks.findIndex((look) => of(look) > 0);
  return counted === -1 ? [] : looks.slice(counted).map((look) => [second(look.at), of(look) / mib]);
}

/** The brake ends with the copy. */
function slowed(lines: readonly StoryLine[]): Points {
  const points: Points = [];
  let percent = 0;
  for (const line of lines) {
    if (line.is === "lever" && line.lever.pull === "throttle") percent = line.lever.percent;
    else if (line.is === "step" && line.step === "paused") percent = 0;
    if (points.at(-1)?.[1] !== percent) points.push([line.at, percent]);
  }
  const last = lines.at(-1);
  if (last !== undefined) points.push([last.at, percent]);
  return points;
}

function pauseOf(lines: readonly StoryLine[], second: (at: number) => number): Band[] {
  const at = (step: "paused" | "resumed") => lines.find((line) => line.is === "step" && line.step === step)?.at;
  const [paused, resumed] = [at("paused"), at("resumed")];
  if (paused === undefined || resumed === undefined) return [];
  return [{ from: second(paused), to: second(resumed), name: "it is paused" }];
}

function marksOf(lines: readonly StoryLine[], second: (at: number) => number): Mark[] {
  return lines.flatMap((line): Mark[] => {
    const x = second(line.at);
    const when = `${x.toFixed(1)} s`;
    if (line.is === "lever") return [{ x, words: `${when}, ${leverWords(line.lever)}: ${line.why}` }];
    return line.is === "step" && line.step === "prepared"
      ? [{ x, words: `${when}, a machine waits for it at the target` }]
      : [];
  });
}

function endOf(last: StoryLine): string {
  if (last.is === "left") {
    return last.pauseMs === null
      ? "it runs at the target"
      : `it runs at the target, paused for ${last.pauseMs.toFixed(0)} ms`;
  }
  return last.is === "stayed" ? `it stays where it is: ${last.message}` : "it is under way";
}

function foretoldNotes(lines: readonly StoryLine[]): string[] {
  const compared = compareForetold(lines);
  if (compared === null) return [];
  const { copyMs, pauseMs } = compared;
  const came = (value: number | null, as: (ms: number) => string): string =>
    value === null ? "" : `, came ${as(value)}`;
  const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
  const ms = (value: number): string => `${value.toFixed(0)} ms`;
  return [
    `copied in: foretold ${seconds(copyMs.foretold)}${came(copyMs.came, seconds)}; paused for: foretold ${ms(pauseMs.foretold)}${came(pauseMs.came, ms)}`,
  ];
}
