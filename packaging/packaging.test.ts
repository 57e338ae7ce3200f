/** What is shipped beside the programs: the example is a configuration, the units are units, the scripts are shell. */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { vstationConfigSchema } from "../src/vstation/config.ts";

const here = import.meta.dirname;

describe("packaging", () => {
  it("has an example that VStation takes", () => {
    const text = readFileSync(join(here, "vstation.example.json"), "utf8");
    expect(vstationConfigSchema.safeParse(JSON.parse(text)).error).toBeUndefined();
  });

  it.each(["host/install.sh", "host/uninstall.sh", "convert.sh"])("%s is shell that a plain sh reads", (file) => {
    expect(spawnSync("sh", ["-n", join(here, file)])).toMatchObject({ status: 0 });
  });

  it("runs nothing of an installer that was cut off", () => {
    const whole = readFileSync(join(here, "host/install.sh"), "utf8");
    for (const share of [0.3, 0.6, 0.9]) {
      const { stdout } = spawnSync("/bin/sh", ["-s", "--", "--name", "x"], {
        input: whole.slice(0, Math.floor(whole.length * share)),
        env: { PATH: "/nowhere" },
      });
      expect(stdout.toString()).toBe("");
    }
  });

  it("names programs that are there in its drop-in for libvirtd", () => {
    const text = readFileSync(join(here, "systemd/libvirtd.conf"), "utf8");
    const programs = [...text.matchAll(/\/opt\/vstation\/current\/(src\S+)/g)].flatMap(([, file]) => file ?? []);
    expect(programs).toEqual([expect.stringMatching(/^src\/compute/)]);
    for (const file of programs) expect(existsSync(join(here, "..", file))).toBe(true);
  });

  const verify = spawnSync("systemd-analyze", ["--version"]).status === 0;
  it
    .skipIf(!verify)
    .each(["vstation.service", "vstation-compute.service", "vstation-convert.socket", "vstation-convert@.service"])(
    "%s is a unit that systemd takes",
    (unit) => {
      const { stderr } = spawnSync("systemd-analyze", ["verify", "--man=no", join(here, "systemd", unit)]);
      const said = stderr
        .toString()
        .split("\n")
        .filter((line) => line.startsWith(unit) && !line.includes("is not executable"));
      expect(said).toEqual([]);
    },
  );
});
