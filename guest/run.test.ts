import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";

const scratch = mkdtempSync(join(tmpdir(), "vstation-build-"));
afterAll(() => rmSync(scratch, { recursive: true }));

/** How a build ends that shows a program which runs this line; `heard` is called for each thing that it says. */
async function build(line: string, heard: (text: string) => void): Promise<unknown> {
  const module = JSON.stringify(join(import.meta.dirname, "run.ts"));
  const call = `await show("sh", ["-c", process.argv[1]]).catch((error) => { console.error(error.message); process.exit(1); })`;
  const child = spawn(process.execPath, ["-e", `import { show } from ${module}; ${call}`, line], {
    stdio: ["ignore", "ignore", "pipe"],
  });
  child.stderr.setEncoding("utf8").on("data", heard);
  const [code] = (await once(child, "close")) as unknown[];
  return code;
}

describe("a long program of a build", () => {
  it("is heard while it runs", { timeout: 60_000 }, async () => {
    const mark = join(scratch, "heard");
    // It goes on once somebody has heard it.
    const line = `echo I: installing >&2; until [ -e ${mark} ]; do sleep 0.02; done; echo on standard output`;
    let said = "";
    const code = await build(line, (text) => {
      said += text;
      if (said === "I: installing\n") writeFileSync(mark, "");
    });
    expect([said, code]).toEqual(["I: installing\non standard output\n", 0]);
  });

  it("fails by name, behind what it said", async () => {
    let said = "";
    const code = await build("echo E: no mirror >&2; exit 3", (text) => void (said += text));
    expect([said, code]).toEqual(["E: no mirror\nsh ended with status 3; what it said stands above\n", 1]);
  });
});
