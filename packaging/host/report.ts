/** `report.ts FILE`: the readiness of a host that has just joined, for whoever set it up: what is there, what is missing, what to do. */
import { readFileSync } from "node:fs";
import { readinessSchema } from "../../src/api/agent.ts";

const { accelerator, checks } = readinessSchema.parse(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")));
const words = { ok: "ok     ", warning: "warning", error: "ERROR  " } as const;
for (const { level, name, message } of checks)
  process.stdout.write(`  ${words[level]}  ${name.padEnd(12)}  ${message}\n`);
const errors = checks.filter(({ level }) => level === "error").length;
process.stdout.write(
  errors === 0
    ? `This machine is a host (${accelerator}); \`vstation host list\` shows it, instances may come.\n`
    : `This machine has joined, but nothing is placed on it before ${errors === 1 ? "the error is" : `${errors} errors are`} mended.\n`,
);
