/** The picture of one move that was measured: its story, and the silences of the guest's beat beside it, on the story's clock. */
import type { BeatReport } from "../../guest/beats.ts";
import type { StoryLineWire } from "../../src/api/native/migrations.ts";
import type { Pictured, Silence } from "../../src/core/migration/picture.ts";
import type { MigrationId } from "../../src/lib/ids.ts";
import { linkMiBps, type MigrationClass } from "./classes.ts";
import { binMs, type Measured } from "./measure.ts";
import { skewMs } from "./monitors.ts";

export interface MeasuredMove {
  readonly of: MigrationClass;
  readonly id: MigrationId;
  readonly lines: readonly StoryLineWire[];
  readonly measured: Measured;
}

export function pictureOf({ of, id, lines, measured: { row, began, report } }: MeasuredMove): Pictured {
  const skew = skewMs();
  const silences = silencesOf(report, began).map(({ at, ms }) => ({ at: at + skew, ms }));
  return {
    title: `bench migration, class ${of.name}: ${id}, ${row.at}`,
    lines,
    silences,
    notes: [
      `${of.about}; the link carries ${linkMiBps} MiB/s; policy ${of.policy}`,
      `silence: the longest of each ${binMs} ms, heard on neither host of a beat each millisecond; the longest ones as long as they were`,
    ],
  };
}

/** The longest ones where they were; of the others the longest of each bin, at its beginning. */
export function silencesOf({ bins, longest }: Pick<BeatReport, "bins" | "longest">, began: number): Silence[] {
  const least = longest.at(-1)?.ms ?? Infinity;
  const others = bins.flatMap(({ longestMs: ms }, i) => (ms < least && ms > 0 ? [{ at: began + i * binMs, ms }] : []));
  return [...longest, ...others].toSorted((a, b) => a.at - b.at);
}
