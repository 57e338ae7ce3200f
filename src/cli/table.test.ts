import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { age, pad, printable, table, width } from "./table.ts";

/** Cheaper than fast-check's own unit of all signs, which first sorts a million of them. */
const anySign = fc.nat(0x10ffff).map((code) => String.fromCodePoint(code));

describe("width", () => {
  it("is what a terminal gives the text", () => {
    expect(width("web1")).toBe(4);
    expect(width("数据库")).toBe(6);
    expect(width("한글")).toBe(4);
    expect(width("e\u0301te\u0301")).toBe(3); // combining accents
    expect(width("👩‍👩‍👧")).toBe(2); // one sign of several parts
    expect(width("ｆｕｌｌ")).toBe(8);
    expect(width("\u200b")).toBe(0);
    expect(width("\x1b[31mred\x1b[0m")).toBe(3);
  });

  it("grows by what is padded, whatever the text", () => {
    fc.assert(
      fc.property(fc.string({ unit: "grapheme" }), fc.nat(60), (text, columns) => {
        const shown = printable(text);
        expect(width(pad(shown, columns))).toBe(Math.max(width(shown), columns));
      }),
    );
  });
});

describe("a table", () => {
  const columns = [
    { title: "NAME", value: (row: { name: string; n: number | null }) => row.name },
    { title: "N", value: (row: { name: string; n: number | null }) => row.n },
    { title: "NOTE", value: () => "x" },
  ];

  it("stands in columns, wide signs and missing values included", () => {
    const rows = [
      { name: "数据库", n: 7 },
      { name: "b", n: 1234 },
    ];
    expect(table(columns, rows)).toBe("NAME       N  NOTE\n数据库     7  x\nb       1234  x\n");
    expect(table(columns, [{ name: "", n: null }])).toBe("NAME  N  NOTE\n-     -  x\n");
    expect(table(columns, [])).toBe("NAME  N  NOTE\n");
  });

  it("lets no name move the cursor", () => {
    fc.assert(
      fc.property(fc.string({ unit: anySign }), (name) => {
        const text = table(columns, [{ name, n: 1 }]);
        expect(text.replaceAll("\n", "")).not.toMatch(/\p{Cc}/u);
        expect(text.split("\n")).toHaveLength(3);
      }),
    );
  });
});

it("an age is told in its largest whole unit", () => {
  const now = Date.parse("2026-01-10T00:00:00Z");
  const ago = (seconds: number): string => age(new Date(now - seconds * 1000).toISOString(), now);
  expect([ago(0), ago(119), ago(120), ago(7199), ago(7200), ago(172_799), ago(172_800)]).toEqual([
    "0s",
    "119s",
    "2m",
    "119m",
    "2h",
    "47h",
    "2d",
  ]);
  expect(ago(-5)).toBe("0s");
});
