/**
 * Set-up for somebody who may not do what it would have to: one list, the exact command, exit 1, and nothing half done. That it
 * installs what is missing is shown by whoever runs `npm test` on a fresh machine; here everything is there but the rights.
 */
import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const root = join(import.meta.dirname, "../..");
const nobody = 65534;
let dir: string;

beforeEach(() => {
  // Readable by anybody, wherever this repository lies.
  dir = mkdtempSync(join(tmpdir(), "vstation-setup-"));
  chmodSync(dir, 0o755);
  mkdirSync(join(dir, "bin"));
  // A machine without sudo: of the tools only those that set-up looks with.
  for (const tool of ["dpkg", "dpkg-query"]) symlinkSync(`/usr/bin/${tool}`, join(dir, "bin", tool));
  mkdirSync(join(dir, "repo"));
  for (const part of ["setup", "package.json", "package-lock.json", "guest"]) {
    cpSync(join(root, part), join(dir, "repo", part), { recursive: true });
  }
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

function setup(verb: string, node = process.execPath): { code: number | null; said: string } {
  const { status, stderr } = spawnSync(node, [join(dir, "repo/setup/main.mjs"), verb], {
    cwd: dir,
    uid: nobody,
    gid: nobody,
    env: { PATH: join(dir, "bin") },
    encoding: "utf8",
  });
  return { code: status, said: stderr };
}

test("without root and without sudo it names what is missing and the command to run, and changes nothing", () => {
  const node = join(dir, "bin/node");
  cpSync(process.execPath, node);
  const before = readdirSync(join(dir, "repo"));
  for (const verb of ["start", "test", "faults", "bench"]) {
    const { code, said } = setup(verb, node);
    expect(code).toBe(1);
    expect(said).toContain("VStation needs, and this machine lacks:");
    expect(said).toContain("npm modules");
    expect(said).toMatch(/needs root, and sudo is of no help here. Run as root[^\n]*:\n\n {2}npm /);
  }
  expect(readdirSync(join(dir, "repo"))).toEqual(before);
  expect(existsSync(join(dir, "repo/node_modules"))).toBe(false);
});

test("a verb that it does not know is answered with those that it knows", () => {
  const node = join(dir, "bin/node");
  cpSync(process.execPath, node);
  const { code, said } = setup("strat", node);
  expect(code).toBe(2);
  expect(said).toContain('there is no verb "strat"');
  expect(said).toContain("npm start");
});
