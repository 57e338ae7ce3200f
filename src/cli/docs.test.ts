import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { cliDocument } from "./docs.ts";

it("docs/cli.md is what the program says (else: node src/cli/docs.ts)", () => {
  expect(readFileSync(join(import.meta.dirname, "../../docs/cli.md"), "utf8")).toBe(cliDocument());
});
