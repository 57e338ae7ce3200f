/** The story of a move as a person reads it: a line for each step and each lever, and one for all looks between two of them. */
import type { StoryLineWire } from "../api/native/migrations.ts";
import { forecast } from "../core/migration/forecast.ts";
import { defaultCeilingMs, type Plan } from "../core/migration/policy.ts";
import { leverWords } from "../core/migration/story.ts";
import { unreachable } from "../lib/errors.ts";
import { compareForetold, type Beside } from "../core/migration/foretold.ts";
import { expectedText, mib as exactMib, seconds } from "./migration-plan.ts";
import { duration, mib } from "./migration-wait.ts";
import { printable, table } from "./table.ts";

type Look = Extract<StoryLineWire, { is: "look" }>;
type Line = Exclude<StoryLineWire, Look>;

/** Empty without lines; else it begins with an empty line. */
export function storyText(lines: readonly StoryLineWire[]): string {
  const [first] = lines;
  if (first === undefined) return "";
  const how = lines.find((line) => line.is === "began") ?? unsaid;
  const told: string[] = [];
  let looks: Look[] = [];
  const tell = (at: number, words: string): void => {
    told.push(`${((at - first.at) / 1_000).toFixed(3).padStart(9)} s  ${printable(words)}\n`);
  };
  const summarize = (): void => {
    const last = looks.at(-1);
    if (last !== undefined) tell(last.at, looksText(looks, last));
    looks = [];
  };
  for (const line of lines) {
    if (line.is === "look") {
      looks.push(line);
      continue;
    }
    summarize();
    tell(line.at, lineText(line, how));
  }
  summarize();
  return `\nstory from ${new Date(first.at).toISOString()} on\n${told.join("")}`;
}

/** Empty where nothing was foretold; else it begins with an empty line. */
export function foretoldText(lines: readonly StoryLineWire[]): string {
  const comparison = compareForetold(lines);
  if (comparison === null) return "";
  const { dirtyBytesPerSecond, linkBytesPerSecond, copyMs, pauseMs } = comparison;
  const rate = (bytes: number): string => `${exactMib(bytes)}/s`;
  const rows: { what: string; of: Beside; as: (value: number) => string }[] = [
    { what: "changes", of: dirtyBytesPerSecond, as: rate },
    { what: "is sent", of: linkBytesPerSecond, as: rate },
    { what: "copied in", of: copyMs, as: seconds },
    { what: "paused for", of: pauseMs, as: duration },
  ];
  const told = table(
    [
      { title: "", value: ({ what }) => what },
      { title: "FORETOLD", value: ({ of, as }) => as(of.foretold) },
      { title: "CAME", value: ({ of, as }) => (of.came === null ? null : as(of.came)) },
    ],
    rows,
  );
  return `\n${told}`;
}

function looksText(looks: readonly Look[], last: Look): string {
  const least = Math.min(...looks.map((look) => look.remainingBytes));
  const rates = `${mib(last.dirtyBytesPerSecond)}/s change, ${mib(last.bytesPerSecond)}/s are sent`;
  return `pass ${last.pass}: ${mib(last.remainingBytes)} remain (${mib(least)} at least), ${rates}`;
}

type How = Pick<Plan, "policy" | "ceilingMs">;
const unsaid: How = { policy: "gentle", ceilingMs: defaultCeilingMs };

function lineText(line: Line, how: How): string {
  switch (line.is) {
    case "began": {
      const { policy, aimMs, ceilingMs } = line;
      const most = policy === "finish" ? `, ${ceilingMs} ms at most` : "";
      return `began by the policy ${policy}: a pause of ${aimMs} ms is aimed at${most}`;
    }
    case "foretold":
      return `foretold: ${expectedText(forecast(line.prediction, how) ?? line.prediction, how.policy)}`;
    case "lever":
      return `${leverWords(line.lever)}: ${line.why}`;
    case "step":
      return stepWords[line.step];
    case "stayed":
      return `it stays where it is: ${line.message}`;
    case "left":
      return line.pauseMs === null
        ? "it runs at the target"
        : `it runs at the target, paused for ${duration(line.pauseMs)}`;
    default:
      return unreachable(line);
  }
}

const stepWords: Readonly<Record<Extract<StoryLineWire, { is: "step" }>["step"], string>> = {
  dialled: "the two hosts have each other",
  prepared: "a machine waits for it at the target",
  paused: "paused",
  heard: "libvirt at the source says so",
  copied: "all of its memory is over",
  resumed: "it runs at the target",
  broken: "the rest of its memory does not come over any more",
  rejoined: "the two hosts were joined again",
  confirmed: "nothing of it is left in libvirt here",
};
