/**
 * One long-lived program of the lab, kept running: PostgreSQL, VStation, or a whole lab host.
 *
 * Who else touches its facts: nobody; one supervisor per home (see the lock in home.ts). What can race: its end, our wish to
 * stop it, and our own end. It is therefore a sibling, not a limb: its own session, files for its output, no death signal; a
 * supervisor killed by SIGKILL leaves it running, and the next one finds it by its environment (processes.ts) and adopts it.
 *
 * How an end is noticed: Node's `exit` event for a program that we started. For an adopted one the kernel tells nobody, so
 * every child holds the one writing end of a FIFO (its lifeline) open: when the last holder ends, the reader sees the end.
 *
 *   stopped --start--> running --ended--> waiting (back-off) --> running
 *      ^------------------ stop --------------'
 */
import { spawn } from "node:child_process";
import { closeSync, constants, existsSync, openSync, readFileSync, renameSync, statSync } from "node:fs";
import { Socket } from "node:net";
import { backoff, sleep } from "../src/lib/retry.ts";
import { childVariable, gone, handlesOf, homeVariable, initOf, signal } from "./processes.ts";
import { settingsFile } from "./home.ts";
import { run } from "./run.ts";

export interface ChildSpec {
  readonly name: string;
  readonly command: readonly [string, ...string[]];
  readonly env?: Readonly<Record<string, string>>;
  readonly logFile: string;
  /** The child is an `unshare` that waits for PID 1 of its own pid namespace: signals go to that PID 1. */
  readonly namespaced: boolean;
  /** How it is asked to end, and how long it may take before SIGKILL. */
  readonly politely: NodeJS.Signals;
  readonly graceMs: number;
}

export type ChildState = "stopped" | "running" | "waiting" | "crash loop";

export interface ChildStatus {
  readonly state: ChildState;
  readonly pid: number | null;
  readonly since: string;
  readonly restarts: number;
  readonly lastEnd: string | null;
}

/** What a child needs from its lab. */
export interface ChildContext {
  readonly home: string;
  lifeline(name: string): string;
  /** Its status changed. */
  changed(): void;
  log(event: string, detail: Record<string, unknown>): void;
}

const shortLifeMs = 30_000;
/** So many short lives in a row are called a crash loop, loudly. It is still restarted: the cause may be mended outside. */
export const crashLoopAfter = 5;
const logLimitBytes = 16 << 20;

export class Child {
  readonly spec: ChildSpec;
  readonly #context: ChildContext;
  #state: ChildState = "stopped";
  #pid: number | null = null;
  #init: number | undefined;
  #since = new Date();
  #restarts = 0;
  #shortLives = 0;
  #lastEnd: string | null = null;
  #wanted = false;
  #timer: NodeJS.Timeout | undefined;
  #ended: Promise<void> = Promise.resolve();

  constructor(spec: ChildSpec, context: ChildContext) {
    this.spec = spec;
    this.#context = context;
  }

  /** Takes over the living one or starts it. Returns how. */
  async start(): Promise<"adopted" | "started"> {
    this.#wanted = true;
    const living = handlesOf(this.#context.home).get(this.spec.name);
    if (living === undefined) {
      await this.#spawn();
      return "started";
    }
    this.#adopt(living);
    return "adopted";
  }

  /** Asks it to end, then insists. Returns when nothing of it runs any more. */
  async stop(): Promise<void> {
    this.#wanted = false;
    clearTimeout(this.#timer);
    if (this.#pid !== null) await endChild(this.#pid, this.spec);
    await this.#ended;
    this.#become("stopped");
  }

  status(): ChildStatus {
    return {
      state: this.#state,
      pid: this.#pid,
      since: this.#since.toISOString(),
      restarts: this.#restarts,
      lastEnd: this.#lastEnd,
    };
  }

  async #spawn(): Promise<void> {
    const { spec } = this;
    const fifo = this.#context.lifeline(spec.name);
    if (!existsSync(fifo)) await run("mkfifo", ["-m", "600", fifo]);
    // It may have been told to stop meanwhile.
    if (!this.#wanted) return;
    const lifeline = openSync(fifo, constants.O_RDWR);
    rotate(spec.logFile);
    const log = openSync(spec.logFile, "a", 0o600);
    try {
      const [program, ...args] = spec.command;
      const child = spawn(program, args, {
        cwd: "/",
        env: {
          PATH: "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
          LANG: "C.UTF-8",
          ...ourSettings(this.#context.home),
          ...spec.env,
          [homeVariable]: this.#context.home,
          [childVariable]: spec.name,
        },
        stdio: ["ignore", log, log, lifeline],
        detached: true,
      });
      const started = performance.now();
      this.#ended = new Promise((resolve) => {
        child.once("error", (error) => {
          this.#onEnd(`could not be started: ${error.message}`, 0);
          resolve();
        });
        child.once("exit", (code, by) => {
          const how = by === null ? `exit status ${code}` : `killed by ${by}`;
          resolve(this.#onGone(how, started));
        });
      });
      child.unref();
      this.#pid = child.pid ?? null;
    } finally {
      closeSync(log);
      closeSync(lifeline);
    }
    this.#become("running");
    this.#context.log("started", { child: spec.name, pid: this.#pid });
    if (spec.namespaced) await this.#findInit();
  }

  /**
   * Remembers PID 1 while its parent can still tell which it is; whoever waits for the child's end has to know it. It is born within
   * milliseconds if the machine is not busy; the kernel tells nobody. Looks until it is found or the child has ended.
   */
  async #findInit(): Promise<void> {
    while (this.#pid !== null && this.#init === undefined) {
      this.#init = initOf(this.#pid);
      if (this.#init === undefined) await sleep(10);
    }
  }

  #adopt(pid: number): void {
    this.#pid = pid;
    this.#init = this.spec.namespaced ? initOf(pid) : undefined;
    const fifo = this.#context.lifeline(this.spec.name);
    const socket = new Socket({ fd: openSync(fifo, constants.O_RDONLY | constants.O_NONBLOCK), readable: true });
    const started = performance.now();
    this.#ended = new Promise((resolve) => {
      socket.once("close", () => {
        resolve(this.#onGone("ended after it was adopted; how is not known", started));
      });
    });
    socket.resume();
    this.#become("running");
    this.#context.log("adopted", { child: this.spec.name, pid });
  }

  /** A killed `unshare` takes its namespace along, but not in the same instant: nothing may be started beside the remains. */
  async #onGone(how: string, started: number): Promise<void> {
    const rest = [this.#pid, this.#init].filter((pid) => pid !== null && pid !== undefined);
    if (!(await gone(rest, 20_000))) this.#context.log("remains", { child: this.spec.name, pids: rest });
    this.#onEnd(how, performance.now() - started);
  }

  #onEnd(how: string, livedMs: number): void {
    this.#pid = null;
    this.#init = undefined;
    this.#lastEnd = how;
    if (!this.#wanted) return;
    this.#shortLives = livedMs < shortLifeMs ? this.#shortLives + 1 : 0;
    this.#restarts++;
    const loop = this.#shortLives >= crashLoopAfter;
    // Whoever kills on purpose, again and again, does not want to wait.
    const eager = ourSettings(this.#context.home)["VSTATION_RESTART"] === "eager";
    const delayMs = eager ? 100 : backoff(this.#shortLives, 100, 10_000);
    this.#context.log(loop ? "crash loop" : "ended", {
      child: this.spec.name,
      how,
      livedMs: Math.round(livedMs),
      restartInMs: Math.round(delayMs),
      see: this.spec.logFile,
    });
    this.#become(loop ? "crash loop" : "waiting");
    this.#timer = setTimeout(() => {
      this.#spawn().catch((error: unknown) => this.#onEnd(`could not be started: ${String(error)}`, 0));
    }, delayMs);
  }

  #become(state: ChildState): void {
    this.#state = state;
    this.#since = new Date();
    this.#context.changed();
  }
}

/** Ends a child by the number of its handle: politely, then by force, namespace and all. */
export async function endChild(
  pid: number,
  how: { namespaced: boolean; politely: NodeJS.Signals; graceMs: number },
): Promise<void> {
  const init = how.namespaced ? initOf(pid) : undefined;
  const all = init === undefined ? [pid] : [pid, init];
  signal(init ?? pid, how.politely);
  if (await gone(all, how.graceMs)) return;
  for (const each of all.toReversed()) signal(each, "SIGKILL");
  if (!(await gone(all, 20_000))) throw new Error(`process ${pid} cannot be ended, not even by SIGKILL`);
}

/**
 * What is set for VStation and Compute in the supervisor's environment and, above it, in the home's settings file, which is read
 * at each start: log level, crash points; in the file also Node's own options, as for a profile.
 */
function ourSettings(home: string): Record<string, string | undefined> {
  const file = settingsFile(home);
  const lines = existsSync(file) ? readFileSync(file, "utf8").split("\n") : [];
  const entries = lines.map((line) => [line.slice(0, line.indexOf("=")), line.slice(line.indexOf("=") + 1)] as const);
  const ours = ([name]: readonly [string, unknown]): boolean => /^VSTATION_(?!LAB_)/.test(name);
  const set = entries.filter((entry) => ours(entry) || entry[0] === "NODE_OPTIONS");
  return Object.fromEntries([...Object.entries(process.env).filter(ours), ...set]);
}

function rotate(file: string): void {
  if (existsSync(file) && statSync(file).size > logLimitBytes) renameSync(file, `${file}.1`);
}
