import { appendFileSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { boundLogs, consoleLogs, longestLog } from "./log-bound.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "vstation-logs-"));
});
afterEach(() => rmSync(directory, { recursive: true }));
const file = (name: string): string => join(directory, name);

test("a long log keeps its end, aside, and its name", async () => {
  writeFileSync(file("console-1.log"), `${"x".repeat(longestLog)}the end`);
  await boundLogs(directory);
  expect(statSync(file("console-1.log")).size).toBe(0);
  appendFileSync(file("console-1.log"), "and on");
  expect(readFileSync(file("console-1.log.0"), "utf8").endsWith("xthe end")).toBe(true);
  expect((await consoleLogs(directory)).map((log) => log.part)).toEqual([-1, 0]);
});

test("the last three starts are kept, a short log is left alone, other files too", async () => {
  for (const n of [1, 2, 9, 10, 11]) writeFileSync(file(`console-${n}.log`), `start ${n}`);
  writeFileSync(file("record.json"), "{}");
  await boundLogs(directory);
  expect(readdirSync(directory).toSorted()).toEqual([
    "console-10.log",
    "console-11.log",
    "console-9.log",
    "record.json",
  ]);
  expect(readFileSync(file("console-11.log"), "utf8")).toBe("start 11");
});
