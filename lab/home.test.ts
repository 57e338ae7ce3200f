import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { Home } from "./home.ts";

it("is refused where each host has a folder of its own, before anything is made", () => {
  // Node's recursive mkdir would never come back from the second one.
  for (const path of ["/run/vstation-home-test", "/proc/x/y", "/sys/x"]) {
    expect(() => new Home(path)).toThrow(`--home ${path}: a lab's home cannot lie under`);
    expect(existsSync(path)).toBe(false);
  }
});

it("says which file is damaged and what to do", () => {
  const dir = mkdtempSync(join(tmpdir(), "vstation-home-"));
  try {
    const home = new Home(dir);
    expect(home.remembered()).toBeUndefined();
    home.remember({ n: 3, apiPort: 4000, hosts: 2, nested: 0 });
    expect(home.remembered()).toEqual({ n: 3, apiPort: 4000, hosts: 2, nested: 0 });
    for (const damage of ['{"n":', '{"n":3}', "[]"]) {
      writeFileSync(join(dir, "lab.json"), damage);
      expect(() => home.remembered()).toThrow(/lab\.json is damaged .*restore it/s);
    }
  } finally {
    rmSync(dir, { recursive: true });
  }
});
