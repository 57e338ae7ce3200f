import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { advice, nextStep } from "./advice.ts";

it("advises on codes that something says", () => {
  const src = join(import.meta.dirname, "..");
  const said = readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((file) => /(?<!\.test|\.fake)\.ts$/u.test(file) && !file.endsWith("cli/advice.ts"))
    .map((file) => readFileSync(join(src, file), "utf8"))
    .join("\n");
  expect(Object.keys(advice).filter((code) => !said.includes(`"${code}"`))).toEqual([]);
});

it("says nothing where there is nothing better to say than the message", () => {
  expect(nextStep("MigrationCancelled")).toBeUndefined();
  expect(nextStep("toString")).toBeUndefined();
});
