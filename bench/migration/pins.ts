/**
 * Keeps the guests' virtual processors on a core of their own, and everything else of the lab and of the bench off it: hosts that are two cores
 * of one machine would otherwise take from the guest what it is asked about.
 *
 * Whatever is begun later by what has a place inherits it, but for QEMU: libvirt lets each one run everywhere. So QEMUs are looked for all
 * the time, those that wait for a guest, too, and all the rest before each turn.
 */
import { readdirSync, readFileSync } from "node:fs";
import { pidNamespaceOf, processesInside, processesOf } from "../../lab/processes.ts";
import { run } from "../../lab/run.ts";
import { sleep } from "../../src/lib/retry.ts";
import type { LabSession } from "../lab-session.ts";
import { coresOf, misplaced, parseThread, type Cores, type Thread } from "./placement.ts";

const lookMs = 200;
/** New threads come while the others are placed, and inherit; more passes than these find the same ones again. */
const passes = 5;

export class Pins {
  readonly #lab: LabSession;
  readonly #cores: Cores;
  /** Where the bench itself was allowed to run. */
  readonly #everywhere: string;
  /** Where each thread was allowed to run before it got its place. */
  readonly #before = new Map<number, string>();
  readonly #ended = new AbortController();
  /** PID 1 of each host. */
  #inits: readonly number[] = [];
  #watch: Promise<void> = Promise.resolve();

  private constructor(lab: LabSession, everywhere: string) {
    this.#lab = lab;
    this.#everywhere = everywhere;
    this.#cores = coresOf(everywhere);
  }

  static async begin(lab: LabSession): Promise<Pins> {
    const self = threadsOf([process.pid]).find(({ tid }) => tid === process.pid);
    if (self === undefined) throw new Error("the kernel does not say on which cores this process may run");
    const pins = new Pins(lab, self.cores);
    try {
      await pins.settle();
    } catch (error) {
      await pins.end();
      throw error;
    }
    pins.#watch = pins.#look();
    return pins;
  }

  /** Everything has its place when this returns. */
  async settle(): Promise<void> {
    this.#inits = this.#lab.hosts.map(({ init }) => init);
    let left = 0;
    for (let pass = 0; pass < passes; pass++) {
      left = await this.#place(this.#processes());
      if (left === 0) return;
    }
    throw new Error(`${left} threads of the lab do not stay on the cores that they were given`);
  }

  /** Every thread may run again where it might before. */
  async end(): Promise<void> {
    this.#ended.abort();
    await this.#watch;
    const freed = Map.groupBy(threadsOf(this.#processes()), ({ tid }) => this.#before.get(tid) ?? this.#everywhere);
    for (const [cores, threads] of freed) await allow(cores, threads);
  }

  async #look(): Promise<void> {
    const { signal } = this.#ended;
    while (!signal.aborted) {
      await this.#place(this.#inits.flatMap(qemusBelow)).catch(() => "the next look finds the same ones");
      await sleep(lookMs, signal).catch(() => "it is over");
    }
  }

  /** How many had to be moved. */
  async #place(processes: readonly number[]): Promise<number> {
    let moved = 0;
    for (const [cores, threads] of misplaced(threadsOf(processes), this.#cores)) {
      for (const { tid, cores: before } of threads) this.#before.set(tid, this.#before.get(tid) ?? before);
      await allow(cores, threads);
      moved += threads.length;
    }
    return moved;
  }

  /** Of the bench and of the lab; PostgreSQL overwrites the environment that it would be known by, so all of a namespace are taken. */
  #processes(): number[] {
    const here = pidNamespaceOf("self");
    const pids = [process.pid];
    for (const [namespace, found] of Map.groupBy(
      processesOf(this.#lab.lab.home.path),
      ({ pidNamespace }) => pidNamespace,
    )) {
      const [one] = found;
      const all = namespace === here || one === undefined ? found : processesInside(one.pid);
      pids.push(...all.map(({ pid }) => pid));
    }
    return pids;
  }
}

/**
 * By the kernel's list of PID 1's children, of which libvirt makes each QEMU one: to look through all of /proc so often takes a tenth of a core,
 * which the guest's network needs. None where the host is off.
 */
function qemusBelow(init: number): number[] {
  const children = textOf(`/proc/${init}/task/${init}/children`) ?? "";
  return children
    .split(" ")
    .filter((pid) => pid !== "" && textOf(`/proc/${pid}/comm`)?.startsWith("qemu-system") === true)
    .map(Number);
}

function threadsOf(processes: readonly number[]): Thread[] {
  return processes.flatMap((pid) => {
    try {
      return readdirSync(`/proc/${pid}/task`).flatMap((name) => threadOf(pid, Number(name)) ?? []);
    } catch {
      return [];
    }
  });
}

function threadOf(pid: number, tid: number): Thread | undefined {
  return parseThread(tid, textOf(`/proc/${pid}/task/${tid}/status`) ?? "");
}

/** What is gone has none. */
function textOf(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return undefined;
  }
}

/** Node has no call for it; one shell for all of them, and none of them fails because it has ended meanwhile. */
async function allow(cores: string, threads: readonly Thread[]): Promise<void> {
  const each = 'cores=$1; shift; for tid; do taskset -p -c "$cores" "$tid"; done >/dev/null 2>&1; true';
  await run("sh", ["-c", each, "sh", cores, ...threads.map(({ tid }) => String(tid))]);
}
