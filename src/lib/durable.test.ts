/** What a process that died in writing a file leaves behind, and who removes it. */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { removeTemporaries, temporaryEnding, temporaryName } from "./durable.ts";

test("temporaries of the files that are named are removed, and no others", async () => {
  const directory = mkdtempSync(join(tmpdir(), "vstation-durable-"));
  try {
    const kept = ["job-aaaaaaaa.json", "job-aaaaaaaa.qcow2", `job-aaaaaaaa.qcow2.job-aaaaaaaa${temporaryEnding}`];
    for (const name of kept) writeFileSync(join(directory, name), "");
    writeFileSync(temporaryName(join(directory, "job-aaaaaaaa.json")), "half");
    expect((await removeTemporaries(directory, ".json")).toSorted()).toEqual(kept);
    expect(readdirSync(directory)).toEqual(kept);
    expect(await removeTemporaries(directory)).toEqual(kept.slice(0, 2));
  } finally {
    rmSync(directory, { recursive: true });
  }
});
