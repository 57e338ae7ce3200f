/**
 * docs/cli.md, made from the tree of commands: `node src/cli/docs.ts` writes it, and a test says when it is stale.
 */
import { writeFileSync } from "node:fs";
import type { Command, Option } from "commander";
import { exitMeanings } from "./exit.ts";
import type { Io } from "./io.ts";
import { buildProgram } from "./program.ts";

const file = new URL("../../docs/cli.md", import.meta.url);

/** Building the tree prints nothing and asks nobody. */
const silent = {
  out: () => undefined,
  err: () => undefined,
  env: {},
  signal: new AbortController().signal,
} as unknown as Io;

export function cliDocument(): string {
  const program = buildProgram(silent);
  const leaves = [...leavesOf(program, [])];
  return [
    "# Command line",
    "",
    "`./vstation` talks to the native API ([api.md](api.md)). Made from the program itself by `node src/cli/docs.ts`; do not edit.",
    "",
    "- **Where it connects**: `credentials.json` in `--home`, else `$VSTATION_HOME`, else `.vstation` here or beside the program.",
    "  An endpoint with a certificate of your own authority: `NODE_EXTRA_CA_CERTS=ca.pem`.",
    "- **Ids or names**: wherever an instance, disk, snapshot, host, image, key, group or account is named, its id does, or its name",
    "  while only one has it.",
    "- **People and programs**: text is for people and may change. `--json` prints one document to standard output whose shape is",
    "  that of the API: a resource as it is; lists as `{total, instances: [...]}`; actions as `{instanceIds, operationIds}`, with",
    '  `operations` after `--wait`. An error is one line on standard error: `{"error": {kind, code, message, next?, requestId?}}`.',
    "- **Waiting**: without `--wait` an action returns when it is accepted, which means that it will end in success or in a named",
    "  failure; with it, the exit code is that of the end. Ctrl-C stops the waiting, never the operation.",
    "- **Asking**: what cannot be undone is asked about at a terminal, unless `--yes`.",
    "- **Colour** only at a terminal; `NO_COLOR` switches it off.",
    "",
    "## Exit codes",
    "",
    "| code | meaning |",
    "|--:|---|",
    ...exitMeanings.map(([code, meaning]) => `| ${code} | ${meaning} |`),
    "",
    "## Everywhere",
    "",
    ...optionTable(program.options),
    "",
    "## Commands",
    "",
    "| command | |",
    "|---|---|",
    ...leaves.map(({ path, command }) => `| [\`${path}\`](#${anchor(path)}) | ${escaped(command.description())} |`),
    "",
    ...leaves.flatMap(({ path, command }) => section(path, command)),
  ].join("\n");
}

function* leavesOf(command: Command, path: readonly string[]): Generator<{ path: string; command: Command }> {
  for (const child of command.createHelp().visibleCommands(command)) {
    if (child.name() === "help") continue;
    const here = [...path, child.name()];
    if (child.commands.length === 0) yield { path: here.join(" "), command: child };
    else yield* leavesOf(child, here);
  }
}

function section(path: string, command: Command): string[] {
  const args = command.registeredArguments;
  const usage = ["vstation", path, ...args.map((one) => `<${one.name()}${one.variadic ? "..." : ""}>`)].join(" ");
  const other = command.aliases().length === 0 ? [] : [`Also \`${command.aliases().join("`, `")}\`.`];
  return [
    `### ${path}`,
    "",
    "```",
    `${usage}${command.options.length === 0 ? "" : " [options]"}`,
    "```",
    "",
    `${sentence(command.description())} ${other.join("")}`.trim(),
    "",
    ...args.filter(({ description }) => description !== "").map((one) => `- \`${one.name()}\`: ${one.description}`),
    ...(args.some(({ description }) => description !== "") ? [""] : []),
    ...(command.options.length === 0 ? [] : [...optionTable(command.options), ""]),
  ];
}

function optionTable(options: readonly Option[]): string[] {
  return [
    "| option | |",
    "|---|---|",
    ...options.map((option) => {
      const standard = option.defaultValue === undefined || option.negate ? "" : ` (${String(option.defaultValue)})`;
      return `| \`${escaped(option.flags)}\` | ${escaped(option.description)}${standard} |`;
    }),
  ];
}

function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
}

function escaped(text: string): string {
  return text.replaceAll("|", "\\|");
}

function anchor(path: string): string {
  return path.replaceAll(" ", "-");
}

if (import.meta.main) writeFileSync(file, cliDocument());
