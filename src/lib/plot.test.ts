/** A plot is well formed, whatever is said in it, and has in words what it shows. */
import { expect, test } from "vitest";
import { drawPlot, ticks, type Plot } from "./plot.ts";

const plot: Plot = {
  title: 'a <b> & "c"\u0007',
  description: "rates over time",
  x: { name: "seconds", to: 20 },
  panels: [
    {
      ...{ title: "rates", unit: "MiB/s", scale: "linear", reach: 1 },
      series: [
        {
          name: "sent",
          as: "line",
          points: [
            [0, 10],
            [10, 95],
          ],
        },
        {
          name: "changed",
          as: "step",
          points: [
            [0, 0],
            [5, 20],
          ],
        },
      ],
    },
    {
      ...{ title: "silence", unit: "ms", scale: "log", reach: 100 },
      series: [{ name: "silence", as: "spans", spans: [{ from: 10, to: 10.001, y: 1_000 }] }],
    },
    { ...{ title: "nothing", unit: "%", scale: "linear", reach: 100 }, series: [] },
  ],
  bands: [{ from: 10, to: 10.0001, name: "paused" }],
  marks: [{ x: 5, words: "5 s, slowed" }],
  notes: [`${"word ".repeat(40)}end`],
};

test("it is well formed, and obeys and fetches nothing", () => {
  const svg = drawPlot(plot);
  expect(opened(svg)).toEqual([]);
  expect(svg).toContain("a &lt;b&gt; &amp; &quot;c&quot;?");
  expect(svg).not.toMatch(/href|url\(|<script|NaN|Infinity|undefined/);
  expect(svg).toContain("prefers-color-scheme:dark");
});

test("it says in words what it is, with units, and what its numbers and colours mean", () => {
  const svg = drawPlot(plot);
  expect(svg).toMatch(/role="img" aria-labelledby="vp-title vp-desc"/);
  expect(svg).toMatch(/<desc id="vp-desc">rates over time\. 1: 5 s, slowed\. word word.* end<\/desc>/);
  const words = [...svg.matchAll(/<text[^>]*>([^<]*)<\/text>/g)].map(([, found]) => found ?? "");
  for (const word of ["rates (MiB/s)", "silence (ms)", "seconds", "sent", "changed", "paused", "1", "1: 5 s, slowed"]) {
    expect(words).toContain(word);
  }
  // Nothing runs out of it to the right.
  expect(Math.max(...words.map(({ length }) => length))).toBeLessThan(130);
  // The axis goes over what is drawn; powers of ten where it is logarithmic.
  expect(words).toEqual(expect.arrayContaining(["0", "50", "100", "1000", "10"]));
});

test("what is too short to be seen is seen all the same", () => {
  const svg = drawPlot(plot);
  expect(svg).toMatch(/<rect class="band" x="464" y="\d+" width="1.5"/);
  expect(svg).toMatch(/<path class="d0" d="M464 \d+V\d+h1\.5V\d+z"\/>/);
});

test("an axis has round numbers, and there is a colour for each series or none at all", () => {
  expect(ticks(95, 4)).toEqual([0, 50]);
  expect(ticks(0.3, 4)).toEqual([0, 0.1, 0.2, 0.3]);
  expect(ticks(12_000, 10)).toHaveLength(7);
  const series = Array.from({ length: 5 }, (_, i) => ({ name: String(i), as: "line" as const, points: [] }));
  const [panel] = plot.panels;
  expect(() => drawPlot({ ...plot, panels: [{ ...panel!, series }] })).toThrow(/4 series/);
});

/** Of its tags those that were not closed. */
function opened(svg: string): string[] {
  const open: string[] = [];
  for (const [, close, name, itself] of svg.matchAll(/<(\/?)([a-z]+)(?:\s[^<>]*?)?(\/?)>/g)) {
    if (close === "/" && open.pop() !== name) return [`</${name}>`];
    if (close === "" && itself !== "/") open.push(name ?? "");
  }
  expect(svg.replace(/<[^<>]*>/g, "")).not.toMatch(/[<>]/);
  return open;
}
