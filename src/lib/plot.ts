/**
 * Quantities over one time, drawn below one another as an SVG that stands alone: no script, no font, no reference to anything elsewhere. It has
 * a title and a description for who cannot see it, axes with units, a legend by words, and colours for a light and a dark ground; lines
 * differ by their dashes as well. Pure, and of its arguments alone.
 */

export type Series =
  /** `line`: straight between points, each of them dotted; `step`: stays until the next point. */
  | {
      readonly name: string;
      readonly as: "line" | "step";
      readonly points: readonly (readonly [x: number, y: number])[];
    }
  /** From the ground up, for as long as each lasts. */
  | { readonly name: string; readonly as: "spans"; readonly spans: readonly Span[] };

export interface Span {
  readonly from: number;
  readonly to: number;
  readonly y: number;
}

export interface Panel {
  readonly title: string;
  readonly unit: string;
  /** `log` begins at 1. */
  readonly scale: "linear" | "log";
  /** The axis reaches at least so far. */
  readonly reach: number;
  /** At most four. */
  readonly series: readonly Series[];
}

/** A moment, in all panels; told below them by its number. */
export interface Mark {
  readonly x: number;
  readonly words: string;
}

/** A time, in all panels. */
export interface Band {
  readonly from: number;
  readonly to: number;
  readonly name: string;
}

export interface Plot {
  readonly title: string;
  readonly description: string;
  readonly x: { readonly name: string; readonly to: number };
  readonly panels: readonly Panel[];
  readonly bands: readonly Band[];
  readonly marks: readonly Mark[];
  /** Said below it. */
  readonly notes: readonly string[];
}

const [wide, left, right] = [880, 64, 16];
const [headHigh, panelHigh, panelHead, axisHigh, lineHigh] = [34, 96, 40, 44, 18];
const plotWide = wide - left - right;
const most = 4;
/** Letters. */
const longestLine = 124;
/** A pause of some milliseconds within minutes is to be seen. */
const thinnest = 1.5;

const style = `
.vp{font:12px system-ui,sans-serif;fill:#1f2328}.vp .ground{fill:#fff}.vp .title{font-size:15px;font-weight:600}.vp .quiet{fill:#59636e}
.vp .grid{stroke:#d1d9e0}.vp .axis{stroke:#818b98}.vp .mark{stroke:#818b98;stroke-dasharray:2 3}.vp .band{fill:#bc4c00;fill-opacity:.18}
.vp .s{fill:none;stroke-width:1.8}.vp .s0{stroke:#0550ae}.vp .s1{stroke:#bc4c00;stroke-dasharray:6 3}.vp .s2{stroke:#6639ba;stroke-dasharray:2 3}.vp .s3{stroke:#116329;stroke-dasharray:9 3 2 3}
.vp .d0{fill:#0550ae}.vp .d1{fill:#bc4c00}.vp .d2{fill:#6639ba}.vp .d3{fill:#116329}
@media(prefers-color-scheme:dark){.vp{fill:#f0f6fc}.vp .ground{fill:#0d1117}.vp .quiet{fill:#9198a1}.vp .grid{stroke:#2f3742}
.vp .axis,.vp .mark{stroke:#7d8590}.vp .band{fill:#ffa657;fill-opacity:.25}.vp .s0{stroke:#79c0ff}.vp .s1{stroke:#ffa657}.vp .s2{stroke:#d2a8ff}.vp .s3{stroke:#7ee787}
.vp .d0{fill:#79c0ff}.vp .d1{fill:#ffa657}.vp .d2{fill:#d2a8ff}.vp .d3{fill:#7ee787}}
`.trim();

export function drawPlot(plot: Plot): string {
  const { title, description, panels, bands, marks, notes, x } = plot;
  const to = Math.max(x.to, Number.MIN_VALUE);
  const place = (at: number): number => left + (Math.min(Math.max(at, 0), to) / to) * plotWide;
  const bottom = headHigh + panels.length * (panelHead + panelHigh);
  const sayings = [...marks.map(({ words }, i) => `${i + 1}: ${words}`), ...notes];
  const told = sayings.flatMap(folded);
  const high = bottom + axisHigh + told.length * lineHigh + 8;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" class="vp" role="img" aria-labelledby="vp-title vp-desc" viewBox="0 0 ${wide} ${high}" width="${wide}" height="${high}">`,
    `<title id="vp-title">${escaped(title)}</title><desc id="vp-desc">${escaped([description, ...sayings].join(". "))}</desc><style>${style}</style>`,
    `<rect class="ground" width="${wide}" height="${high}"/>`,
    text(left, 24, title, "title"),
    ...panels.map((panel, i) => {
      const top = headHigh + i * (panelHead + panelHigh) + panelHead;
      return panelOf(panel, { top, place, bands, key: i === 0 });
    }),
    ...ticks(to, 10).map((at) => text(place(at), bottom + 16, String(at), "quiet", "middle")),
    text(left + plotWide / 2, bottom + 34, x.name, "quiet", "middle"),
    ...marks.map(({ x: at }, i) => markOf(place(at), i + 1, bottom)),
    ...told.map((words, i) => text(left, bottom + axisHigh + (i + 1) * lineHigh - 4, words)),
    "</svg>",
  ];
  return `${parts.join("\n")}\n`;
}

interface Room {
  readonly top: number;
  readonly place: (x: number) => number;
  readonly bands: readonly Band[];
  /** Here the legend has the bands too. */
  readonly key: boolean;
}

function panelOf(panel: Panel, { top, place, bands, key }: Room): string {
  const { title, unit, scale, reach, series } = panel;
  if (series.length > most) throw new Error(`a panel has ${most} series at most`);
  const heights = series.map((one) =>
    one.as === "spans" ? one.spans.map(({ y }) => y) : one.points.map(([, y]) => y),
  );
  const largest = heights.flat().reduce((highest, y) => Math.max(highest, y), reach);
  const lines = scale === "log" ? decades(largest) : ticks(largest, 4);
  const [, step = 0] = lines;
  // What would stand out far above the last line gets one more.
  if (scale === "linear" && largest > (lines.at(-1) ?? 0) + step / 4) lines.push((lines.at(-1) ?? 0) + step);
  const end = Math.max(largest, lines.at(-1) ?? 0);
  const share = scale === "log" ? (y: number) => Math.log10(Math.max(1, y)) / Math.log10(end) : (y: number) => y / end;
  const high = (y: number): number => round(top + panelHigh * (1 - share(y)));
  const ground = top + panelHigh;
  return [
    text(left, top - 18, `${title} (${unit})`),
    legendOf(series, key ? bands : [], top - 18),
    ...lines.map(
      (y) =>
        `<path class="grid" d="M${left} ${high(y)}h${plotWide}"/>${text(left - 8, high(y) + 4, String(y), "quiet", "end")}`,
    ),
    ...bands.map(({ from, to }) => {
      const width = Math.max(thinnest, place(to) - place(from));
      return `<rect class="band" x="${round(place(from))}" y="${top}" width="${round(width)}" height="${panelHigh}"/>`;
    }),
    ...series.map((one, i) => seriesOf(one, i, { place, high, ground })),
    `<path class="axis" fill="none" d="M${left} ${top}V${ground}H${left + plotWide}"/>`,
  ].join("\n");
}

interface Frame {
  readonly place: (x: number) => number;
  readonly high: (y: number) => number;
  readonly ground: number;
}

function seriesOf(series: Series, i: number, { place, high, ground }: Frame): string {
  if (series.as === "spans") {
    const boxes = series.spans.map(({ from, to, y }) => {
      const width = round(Math.max(thinnest, place(to) - place(from)));
      return `M${round(place(from))} ${ground}V${high(y)}h${width}V${ground}z`;
    });
    return `<path class="d${i}" d="${boxes.join("")}"/>`;
  }
  const at = series.points.map(([x, y]) => [round(place(x)), high(y)] as const);
  const path = (d: string): string => `<path class="s s${i}" d="${d}"/>`;
  if (series.as === "step") return path(at.map(([x, y], n) => (n === 0 ? `M${x} ${y}` : `H${x}V${y}`)).join(""));
  const dots = at.map(([x, y]) => `<circle class="d${i}" cx="${x}" cy="${y}" r="2"/>`);
  return path(at.map(([x, y], n) => `${n === 0 ? "M" : "L"}${x} ${y}`).join("")) + dots.join("");
}

/** From the right. A panel of one series is named by its title. */
function legendOf(series: readonly Series[], bands: readonly Band[], y: number): string {
  const entries = [
    ...(series.length < 2 ? [] : series.map(({ name }, i) => ({ name, key: `<path class="s s${i}" d="M0 -4h24"/>` }))),
    ...[...new Set(bands.map(({ name }) => name))].map((name) => ({
      name,
      key: '<rect class="band" y="-9" width="24" height="10"/>',
    })),
  ];
  let x = wide - right;
  const drawn = entries.toReversed().map(({ name, key }) => {
    // So wide a letter is at most, near enough.
    x -= 40 + 6.6 * name.length;
    return `<g transform="translate(${round(x)} ${y})">${key}${text(30, 0, name, "quiet")}</g>`;
  });
  return drawn.join("");
}

function markOf(x: number, number: number, bottom: number): string {
  const at = round(x);
  return `<path class="mark" d="M${at} ${headHigh + panelHead}V${bottom}"/>${text(at, headHigh + panelHead - 3, String(number), "quiet", "middle")}`;
}

/** Round numbers from 0 on, about so many. */
export function ticks(to: number, about: number): number[] {
  const rough = to / about;
  const decade = 10 ** Math.floor(Math.log10(rough));
  const step = decade * ([1, 2, 5, 10].find((factor) => factor * decade >= rough) ?? 10);
  return Array.from({ length: Math.floor(to / step + 1e-9) + 1 }, (_, i) => Number((i * step).toPrecision(12)));
}

function decades(to: number): number[] {
  return Array.from({ length: Math.max(1, Math.ceil(Math.log10(to))) + 1 }, (_, i) => 10 ** i);
}

/** Lines of what fits. */
function folded(words: string): string[] {
  const lines = [""];
  for (const word of words.split(" ")) {
    const line = lines.at(-1) ?? "";
    if (line === "") lines[lines.length - 1] = word;
    else if (line.length + word.length < longestLine) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(`   ${word}`);
  }
  return lines;
}

function text(x: number, y: number, words: string, kind = "", anchor = "start"): string {
  const classes = kind === "" ? "" : ` class="${kind}"`;
  return `<text${classes} x="${round(x)}" y="${round(y)}" text-anchor="${anchor}">${escaped(words)}</text>`;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

const entities: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };

/** XML knows no control characters, however they are written. */
function escaped(words: string): string {
  return words.replace(/[&<>"]/g, (found) => entities[found] ?? "").replace(/[\p{Cc}\p{Cs}\ufffe\uffff]/gu, "?");
}
