/**
 * `npm start` and `npm stop`, once everything that they need is installed (setup/ sees to that).
 *
 *   node lab/main.ts start [--hosts N] [--nested N] [--home DIR] [--detach] [--cache DIR]
 *   node lab/main.ts stop [--home DIR]
 *
 * One supervisor per home, kept by a lock that the kernel drops with its holder. `stop` asks the supervisor to end, waits for
 * the lock, and then cleans up whatever is left, supervisor or not.
 */
import { spawn } from "node:child_process";
import { appendFileSync, closeSync, existsSync, openSync, readFileSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { parseArgs } from "node:util";
import * as z from "zod";
import { formatError } from "../src/lib/errors.ts";
import { Home, writeWhole } from "./home.ts";
import { takeLock } from "./lock.ts";
import { maxHosts, maxNested } from "./plan.ts";
import { isAlive, signal, statOf } from "./processes.ts";
import { writeStatusOff } from "./status.ts";
import { describeFailure, Supervisor, sweep, type LabOptions } from "./supervisor.ts";

const supervisorSchema = z.strictObject({ pid: z.int(), startTime: z.string() });

const usage = `npm start [-- --hosts N] [--nested N] [--home DIR] [--detach] [--yes]
npm stop [-- --home DIR]

  --hosts N    lab hosts, 0 to ${maxHosts}; remembered by the home, 3 in a new one
  --nested N   nested hosts, 0 to ${maxNested}: whole machines with their own kernel and KVM, emulated; remembered, none in a new home
  --home DIR   the folder that holds everything (.vstation)
  --detach     return when it is ready and leave it running
  --yes        agree in advance to a new apt source
`;

const { values, positionals } = commandLine();

function commandLine() {
  try {
    return parseArgs({
      allowPositionals: true,
      options: {
        hosts: { type: "string" },
        nested: { type: "string" },
        home: { type: "string", default: ".vstation" },
        cache: { type: "string" },
        detach: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
        // Set by --detach for the supervisor itself: the descriptor on which it reports until it is ready.
        report: { type: "string" },
      },
    });
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? error.message : String(error)}\n\n${usage}`);
    return process.exit(2);
  }
}

async function main(): Promise<number> {
  if (values.help) {
    process.stdout.write(usage);
    return 0;
  }
  switch (positionals[0]) {
    case "start": {
      // Before a home is made for what cannot be started.
      const wanted = options();
      return values.detach ? detach() : supervise(new Home(values.home), wanted);
    }
    case "stop":
      // A home is made by looking at it; one that was mistyped must not be.
      if (existsSync(values.home)) return stop(new Home(values.home));
      process.stderr.write(`there is no lab in ${resolve(values.home)}\n`);
      return 1;
    default:
      process.stderr.write(usage);
      return 2;
  }
}

function options(): LabOptions {
  return {
    hosts: numberOf("hosts", maxHosts),
    nested: numberOf("nested", maxNested),
    ...(values.cache === undefined ? {} : { cache: resolve(values.cache) }),
  };
}

function numberOf(option: "hosts" | "nested", most: number): number | undefined {
  const given = values[option];
  if (given === undefined) return undefined;
  const number = Number(given);
  if (Number.isInteger(number) && number >= 0 && number <= most) return number;
  throw new Error(`--${option} ${given}: a number from 0 to ${most} is needed`);
}

/** Runs the lab in this process until a signal ends it. */
async function supervise(home: Home, labOptions: LabOptions): Promise<number> {
  const report = values.report === undefined ? 1 : Number(values.report);
  let reporting = true;
  const say = (line: string): void => {
    if (!reporting) return;
    try {
      writeSync(report, `${line}\n`);
    } catch {
      reporting = false; // whoever listened went away: the log still has it all
    }
  };
  const lock = await takeLock(openable(home.lockFile), 0);
  if (lock === undefined) {
    say(`a lab is already running in ${home.path}; \`npm stop -- --home ${home.path}\` powers it off`);
    return 1;
  }
  writeWhole(
    home.supervisorFile,
    JSON.stringify({ pid: process.pid, startTime: statOf(process.pid)?.startTime }),
    0o600,
  );

  const supervisor = new Supervisor(home, (line) => {
    supervisor.log("progress", { line });
    say(line);
  });

  let asked: NodeJS.Signals | undefined;
  const end = new Promise<void>((resolveEnd) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
      process.on(name, () => {
        say(asked === undefined ? "powering off" : "still powering off; it takes some seconds");
        asked = name;
        resolveEnd();
      });
    }
  });
  let code = 0;
  try {
    const line = await Promise.race([supervisor.start(labOptions), end]);
    // Ended before it was ready: who waits for that hears of it, by what is said and by the exit code.
    if (line === undefined) code = 1;
    else say(line);
    if (line !== undefined && values.report !== undefined) {
      closeSync(report);
      reporting = false;
    }
    await end;
  } catch (error) {
    code = 1;
    supervisor.log("failed", { error: formatError(error) });
    say(describeFailure(error, home));
    if (supervisor.adopted) {
      // What ran before runs on: a start that fails is no reason to power instances off.
      say(`what was running before goes on; \`npm stop -- --home ${home.path}\` powers it off`);
      process.exit(code);
    }
  }
  await supervisor.stop();
  say("the lab is off");
  await lock.release();
  return code;
}

/** Starts the supervisor in a session of its own and shows its progress until it is ready or has failed. */
async function detach(): Promise<number> {
  const home = new Home(values.home);
  const log = openSync(home.log("supervisor"), "a", 0o600);
  const args = ["start", "--home", home.path, "--report", "3"];
  if (values.hosts !== undefined) args.push("--hosts", values.hosts);
  if (values.nested !== undefined) args.push("--nested", values.nested);
  if (values.cache !== undefined) args.push("--cache", resolve(values.cache));
  const child = spawn(process.execPath, [import.meta.filename, ...args], {
    stdio: ["ignore", log, log, "pipe"],
    detached: true,
    cwd: "/",
  });
  closeSync(log);
  const pipe = child.stdio[3];
  if (pipe === null || pipe === undefined || !("readable" in pipe)) throw new Error("no pipe to the supervisor");
  for await (const line of createInterface({ input: pipe as NodeJS.ReadableStream })) process.stdout.write(`${line}\n`);
  // The pipe ends when it is ready or gone. An exit may be reported a moment after its pipe's end.
  const exited = await new Promise<boolean>((resolveExit) => {
    child.once("exit", () => resolveExit(true));
    setTimeout(() => resolveExit(child.exitCode !== null), 300);
  });
  child.unref();
  return exited ? 1 : 0;
}

async function stop(home: Home): Promise<number> {
  const known = existsSync(home.supervisorFile)
    ? supervisorSchema.safeParse(JSON.parse(readFileSync(home.supervisorFile, "utf8"))).data
    : undefined;
  if (known !== undefined && isAlive(known.pid, known.startTime)) signal(known.pid, "SIGTERM");
  const lock = await takeLock(openable(home.lockFile), 60);
  if (lock === undefined) {
    process.stderr.write(
      `the lab in ${home.path} is still powering off after a minute; see ${home.log("supervisor")}\n`,
    );
    return 1;
  }
  await sweep(home);
  writeStatusOff(home);
  await lock.release();
  process.stdout.write(`the lab in ${home.path} is off\n`);
  return 0;
}

/** flock makes a missing file itself, but with everybody's permissions. */
function openable(file: string): string {
  appendFileSync(file, "", { mode: 0o600 });
  return file;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${formatError(error)}\n`);
  process.exitCode = 1;
}
