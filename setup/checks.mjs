/** `npm run check` and `npm test`: what runs, and how many of each kind passed, counted from vitest's own reports. */
import { spawn } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { passThrough } from "./process.mjs";
import { rootPrefix } from "./rights.mjs";
import { bin, node, root } from "./root.mjs";
import { say } from "./say.mjs";

const results = join(root, "test/results");

/** @typedef {{ kind: string, passed: number, failed: number, skipped: number }} Count */

const sourceFiles = ["src", "lab", "guest", "bench", "test", "setup", "packaging", "*.json", "*.ts"];

/** Types, lint, format: each counts as one test. Side by side, because each is mostly waiting for one core. */
async function statics() {
  const all = await Promise.all([
    quiet("types", "tsc", ["-p", "."]),
    quiet("lint", "oxlint", ["--type-aware", "--deny-warnings"]),
    quiet("format", "oxfmt", ["--check", ...sourceFiles]),
  ]);
  return {
    kind: "static checks",
    passed: all.filter((ok) => ok).length,
    failed: all.filter((ok) => !ok).length,
    skipped: 0,
  };
}

/** Runs a tool and shows what it says only if it fails.
 * @param {string} name @param {string} tool @param {readonly string[]} args @returns {Promise<boolean>} */
function quiet(name, tool, args) {
  return new Promise((resolve) => {
    const child = spawn(node, [join(bin, tool), ...args], { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
    let text = "";
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => (text += part));
    child.once("error", (error) => {
      say(`${name}: ${error.message}`);
      resolve(false);
    });
    child.once("close", (code) => {
      say(code === 0 ? `${name}: good` : `${name}: failed\n${text.trimEnd()}`);
      resolve(code === 0);
    });
  });
}

/** @param {string} project @param {readonly string[]} prefix @returns {Promise<Count[]>} */
async function vitest(project, prefix = []) {
  mkdirSync(results, { recursive: true });
  const file = join(results, `${project}.json`);
  rmSync(file, { force: true });
  const command = [
    ...prefix,
    node,
    join(bin, "vitest"),
    "run",
    "--project",
    project,
    "--reporter=default",
    "--reporter=json",
    `--outputFile.json=${file}`,
  ];
  const code = await passThrough(command[0] ?? node, command.slice(1), { cwd: root });
  if (!existsSync(file)) return [{ kind: project, passed: 0, failed: 1, skipped: 0 }];
  const report = JSON.parse(readFileSync(file, "utf8"));
  /** @type {Map<string, Count>} */
  const counts = new Map();
  for (const test of report.testResults) {
    const kind = test.name.startsWith(join(root, "test/repository/")) ? "repository" : project;
    const count = counts.get(kind) ?? { kind, passed: 0, failed: 0, skipped: 0 };
    counts.set(kind, count);
    for (const { status } of test.assertionResults) {
      if (status === "passed") count.passed++;
      else if (status === "failed") count.failed++;
      else count.skipped++;
    }
    // A file that could not even be loaded has no tests to count.
    if (
      test.status === "failed" &&
      !test.assertionResults.some((/** @type {{status: string}} */ each) => each.status === "failed")
    )
      count.failed++;
  }
  const all = [...counts.values()];
  // Errors outside any test (an unhandled rejection) fail the run and must not be counted away.
  if (code !== 0 && all.every((count) => count.failed === 0))
    all.push({ kind: `${project}, outside any test`, passed: 0, failed: 1, skipped: 0 });
  return all;
}

/** @param {readonly Count[]} counts */
function conclude(counts) {
  const sum = { passed: 0, failed: 0 };
  process.stdout.write("\n");
  for (const { kind, passed, failed, skipped } of counts) {
    process.stdout.write(`${kind}: ${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}\n`);
    sum.passed += passed;
    sum.failed += failed;
  }
  process.stdout.write(`${sum.passed} passed, ${sum.failed} failed\n`);
  return sum.failed === 0 ? 0 : 1;
}

export async function check() {
  return conclude([await statics(), ...(await vitest("unit"))]);
}

export async function testAll() {
  const prefix = rootPrefix("Testing with real hosts", "npm test");
  return conclude([await statics(), ...(await vitest("unit")), ...(await vitest("real", prefix))]);
}
