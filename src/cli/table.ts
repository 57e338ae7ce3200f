/**
 * Tables for people: aligned by what a terminal shows, not by how many code units a name has.
 *
 * Names come from tenants and may hold anything; a control character would move the cursor or worse, so each is shown as `?`.
 */
import { stripVTControlCharacters } from "node:util";

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

/** Two columns wide: East Asian Wide and Fullwidth (Unicode's EastAsianWidth.txt, in blocks), and emoji. */
const wide =
  /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua960-\ua97f\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff01-\uff60\uffe0-\uffe6\u{17000}-\u{18cff}\u{1b000}-\u{1b2ff}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}|\ufe0f/u;
const zero = /^[\p{Mark}\p{Default_Ignorable_Code_Point}]+$/u;

/** Columns that a terminal gives the text. */
export function width(text: string): number {
  let columns = 0;
  for (const { segment } of segmenter.segment(stripVTControlCharacters(text))) {
    columns += zero.test(segment) ? 0 : wide.test(segment) ? 2 : 1;
  }
  return columns;
}

/** The text without anything that a terminal would obey. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Bidi_Control}\u2028\u2029]/gu, "?");
}

export function pad(text: string, columns: number): string {
  return text + " ".repeat(Math.max(0, columns - width(text)));
}

export interface Column<T> {
  title: string;
  value: (row: T) => string | number | null;
  /** Colours the cell; alignment does not count it. */
  paint?: (text: string, row: T) => string;
}

/** Lines of a table; numbers stand right, the last column is not padded. "-" stands for nothing. */
export function table<T>(columns: readonly Column<T>[], rows: readonly T[]): string {
  const cells = rows.map((row) =>
    columns.map((column) => {
      const value = column.value(row);
      return {
        text: value === null || value === "" ? "-" : printable(String(value)),
        right: typeof value === "number",
      };
    }),
  );
  const widths = columns.map((column, i) =>
    Math.max(width(column.title), ...cells.map((line) => width(line[i]?.text ?? ""))),
  );
  const rightTitles = columns.map((_, i) => cells.length > 0 && cells.every((line) => line[i]?.right === true));
  const last = columns.length - 1;
  const place = (text: string, i: number, right: boolean): string => {
    const columnsWide = widths[i] ?? 0;
    if (right) return " ".repeat(Math.max(0, columnsWide - width(text))) + text;
    return i === last ? text : pad(text, columnsWide);
  };
  const head = columns.map((column, i) => place(column.title, i, rightTitles[i] === true)).join("  ");
  const body = rows.map((row, r) =>
    columns
      .map((column, i) => {
        const cell = cells[r]?.[i] ?? { text: "", right: false };
        const placed = place(cell.text, i, cell.right);
        return column.paint?.(placed, row) ?? placed;
      })
      .join("  ")
      .trimEnd(),
  );
  return [head.trimEnd(), ...body].map((line) => `${line}\n`).join("");
}

/** "name  value" lines for one thing. */
export function facts(pairs: readonly (readonly [string, string | number | null])[]): string {
  const columns = Math.max(...pairs.map(([name]) => width(name)));
  return pairs
    .map(
      ([name, value]) => `${pad(name, columns)}  ${value === null || value === "" ? "-" : printable(String(value))}\n`,
    )
    .join("");
}

/** "3d", "4h", "12m", "5s": how long ago, in the largest whole unit. */
export function age(from: string, now: number): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(from)) / 1000));
  if (seconds < 120) return `${seconds}s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)}m`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)}h`;
  return `${Math.floor(seconds / 86_400)}d`;
}
