/**
 * What `npm start`, `npm stop`, `npm test` and `npm run ...` call. Runs on any Node from 20 on, before anything is installed:
 * it makes sure of what the verb needs and then hands over to the Node that is part of this package.
 */
import { existsSync, mkdirSync } from "node:fs";
import { join, resolve } from "node:path";
import { check, testAll } from "./checks.mjs";
import { isImageName } from "./image.mjs";
import { provide } from "./needs.mjs";
import { passThrough } from "./process.mjs";
import { isRoot, rootPrefix } from "./rights.mjs";
import { cache, node, root } from "./root.mjs";
import { say, Stop } from "./say.mjs";

const help = `npm start [-- --hosts N] [--home DIR] [--detach] [--yes]   a whole VStation with N lab hosts (3) on this machine
npm stop [-- --home DIR]                                   powers that off; instances come back at the next start
npm test                                                   everything is tested, real guests included
npm run check                                              types, lint, format, and the tests that need no host
npm run test:faults [-- --rounds N] [--only TEXT]          kills everything at every step and looks what is left
npm run test:nested                                        an owner's day and a move, under KVM in emulated machines
npm run bench -- NAME [--quick] [--json]                   measures, beside a rival, in one run
npm run image -- debian-12 [--home DIR]                    builds that image (once) and gives it to the lab in that home

--yes (or CI=true) agrees in advance to a new apt source. \`--home\` is .vstation unless given.`;

/** Hands over to one of our programs as root: namespaces, bridges and libvirtd need it.
 * @param {string} program @param {readonly string[]} args */
function asRoot(program, args) {
  const prefix = isRoot ? [] : rootPrefix("Running lab hosts", `${node} ${program} ${args.join(" ")}`);
  const command = [...prefix, node, program, ...args];
  return passThrough(command[0] ?? node, command.slice(1));
}

/** npm changes into the package; a folder is meant from where the command was given.
 * @param {readonly string[]} args */
function fromCaller(args) {
  const from = process.env["INIT_CWD"] ?? process.cwd();
  return args.map((each, at) => {
    if (args[at - 1] === "--home") return resolve(from, each);
    return each.startsWith("--home=") ? `--home=${resolve(from, each.slice("--home=".length))}` : each;
  });
}

/** @returns {Promise<number>} */
async function main() {
  const [verb = "help", ...rest] = process.argv.slice(2);
  const yes = rest.includes("--yes");
  const args = fromCaller(rest.filter((each) => each !== "--yes"));
  const script = verb === "faults" || verb === "nested" ? `test:${verb}` : verb;
  const repeat = [
    "npm",
    ...(script === "start" || script === "test" ? [script] : ["run", script]),
    "--",
    ...args,
    "--yes",
  ].join(" ");
  switch (verb) {
    case "start":
      await provide({ repeat, lab: true, yes });
      mkdirSync(cache, { recursive: true });
      return asRoot(join(root, "lab/main.ts"), ["start", "--cache", cache, ...args]);
    case "stop":
      // What was never installed cannot be running.
      if (!existsSync(node)) return 0;
      return asRoot(join(root, "lab/main.ts"), ["stop", ...args]);
    case "check":
      await provide({ repeat, lab: false, yes });
      return check();
    case "test":
      await provide({ repeat, lab: true, images: true, yes });
      return testAll();
    case "faults":
      await provide({ repeat, lab: true, yes });
      return asRoot(join(root, "test/faults/main.ts"), args);
    case "nested":
      await provide({ repeat, lab: true, images: true, yes });
      return asRoot(join(root, "node_modules/vitest/vitest.mjs"), ["run", "--project", "nested", ...args]);
    case "bench":
      await provide({ repeat, lab: true, yes });
      return asRoot(join(root, "bench/main.ts"), args);
    case "image": {
      const [name = "", ...others] = args;
      if (!isImageName(name)) throw new Stop(`there is no image "${name}" to build; there are tiny and debian-12`);
      await provide({ repeat, lab: true, images: name === "debian-12", yes });
      return asRoot(join(root, "lab/images.ts"), ["--cache", cache, ...others]);
    }
    case "help":
      say(help);
      return 0;
    default:
      say(`there is no verb "${verb}"\n\n${help}`);
      return 2;
  }
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Stop)) throw error;
  say(error.message);
  process.exitCode = 1;
}
