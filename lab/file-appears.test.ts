import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { fileAppears } from "./file-appears.ts";

const scratch = mkdtempSync(join(tmpdir(), "vstation-appears-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("waiting for a file", () => {
  it("ends when the file comes, and at once when it is there", async () => {
    const file = join(scratch, "late");
    const waiting = fileAppears(file, new AbortController().signal);
    writeFileSync(file, "");
    await expect(waiting).resolves.toBeUndefined();
    await expect(fileAppears(file, new AbortController().signal)).resolves.toBeUndefined();
  });

  it("ends when the lab is told to end before the file exists, whether before or during the wait", async () => {
    const controller = new AbortController();
    const waiting = fileAppears(join(scratch, "never"), controller.signal);
    controller.abort(new Error("powering off"));
    await expect(waiting).rejects.toThrow("powering off");
    await expect(fileAppears(join(scratch, "never"), controller.signal)).rejects.toThrow("powering off");
  });
});
