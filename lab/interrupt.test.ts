import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { expect, it } from "vitest";

it("takes the echoes of one Ctrl-C for one, and a later one for another", async () => {
  const script = `
    import { onInterrupt } from ${JSON.stringify(join(import.meta.dirname, "interrupt.ts"))};
    onInterrupt((signal) => console.log("ends by " + signal));
    setInterval(() => undefined, 1000);
    console.log("ready");`;
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  const ended = once(child, "exit");
  const said: string[] = [];
  const lines = createInterface({ input: child.stdout });
  lines.on("line", (line) => said.push(line));
  await once(lines, "line");
  child.kill("SIGINT");
  await once(lines, "line");
  child.kill("SIGINT");
  child.kill("SIGTERM");
  await sleep(1_500);
  expect(child.exitCode).toBeNull();
  expect(said).toEqual(["ready", "ends by SIGINT"]);
  child.kill("SIGINT");
  expect(await ended).toEqual([130, null]);
});
