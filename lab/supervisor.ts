/**
 * The lab's supervisor: brings PostgreSQL, VStation and the hosts up in order, keeps them up, and powers them off.
 *
 * It owns no truth that matters to an instance. It may be killed at any moment: its children live on, and the next start
 * adopts them (child.ts). What the machine itself was changed by is level-triggered too (edge.ts), so a start after any
 * interruption is the same code as the first one.
 *
 * Power off is a machine room that shuts down, not a wish to stop instances: VStation goes first, so that it never sees its
 * guests end; then the hosts, all at once; then the database. The next start brings the instances back, because that is
 * what VStation still wants.
 */
import { appendFileSync, existsSync, rmSync } from "node:fs";
import { join, resolve } from "node:path";
import { formatError } from "../src/lib/errors.ts";
import { sleep } from "../src/lib/retry.ts";
import { Child, endChild, type ChildContext, type ChildSpec, type ChildStatus } from "./child.ts";
import { keepCapabilities, takeCapabilities, takeImages } from "./cache.ts";
import { edgeDown, edgeFlood, edgeUp } from "./edge.ts";
import { expectFree, freePort } from "./free-port.ts";
import type { Home, Memory } from "./home.ts";
import { defaultShape, hostSpec, prepareHost, type Shape } from "./host/host.ts";
import { nestedKernel, type NestedKernel } from "./nested/kernel.ts";
import { nestedGraceMs, nestedSpec, prepareNested } from "./nested/nested.ts";
import { hostKindOf, hostPlanOf, nestedPlanOf, type HostPlan, type Plan } from "./plan.ts";
import { postgresReady, postgresSpec } from "./postgres.ts";
import { gone, handlesOf, initOf, isAlive, processesOf, signal } from "./processes.ts";
import { inviteAgain, takenOut } from "./rejoin.ts";
import { servicesOf, watchServices, writeStatus, type LabState } from "./status.ts";
import { caFingerprint, hostStates, readCredentials, vstationSpec, writeVStationConfig } from "./vstation.ts";

const root = join(import.meta.dirname, "..");

export interface LabOptions {
  readonly hosts: number | undefined;
  readonly nested: number | undefined;
  readonly shape?: Shape;
  /** What labs on this machine share (cache.ts). */
  readonly cache?: string;
}

export class Supervisor {
  readonly #home: Home;
  readonly #progress: (line: string) => void;
  readonly #children = new Map<string, Child>();
  readonly #hosts: HostPlan[] = [];
  readonly #stopping = new AbortController();
  #state: LabState = "starting";
  #endpoint: string | null = null;
  #kernel: Promise<NestedKernel> | undefined;
  #starting: Promise<unknown> | undefined;
  #adopted = false;
  /** Called at each change of any part. */
  readonly #watchers = new Set<() => void>();
  /** Parts whose crash loop has been told. */
  readonly #looping = new Set<string>();
  /** Hosts that were taken out and have a new token. */
  readonly #invited = new Set<string>();

  constructor(home: Home, progress: (line: string) => void) {
    this.#home = home;
    this.#progress = progress;
  }

  /** Something of an earlier start runs on under this supervisor. */
  get adopted(): boolean {
    return this.#adopted;
  }

  /** Brings the lab up. Returns the line that says what to do with it; throws when a part does not come up. */
  start(options: LabOptions): Promise<string> {
    const starting = this.#bringUp(options);
    this.#starting = starting;
    return starting;
  }

  async #bringUp(options: LabOptions): Promise<string> {
    const home = this.#home;
    const signalled = this.#stopping.signal;
    const began = new Date();
    const before = home.remembered();
    const living = handlesOf(home.path);
    if (living.size > 0) this.#progress(`found running: ${[...living.keys()].toSorted().join(", ")}; taking over`);

    const plan = await edgeUp(home.path, before?.n);
    const memory = await this.#remember(plan, before, options, living);
    for (let i = 1; i <= memory.hosts; i++) this.#hosts.push(hostPlanOf(plan, i));
    for (let i = 1; i <= memory.nested; i++) this.#hosts.push(nestedPlanOf(plan, i));
    this.#progress(`network ${plan.underlay.cidr}, guests ${plan.guests.cidr}`);

    if (options.cache !== undefined) takeImages(options.cache, home.imageDir);
    writeVStationConfig(home, plan, this.#hosts, memory.apiPort);
    // Only the first start of all has to wait for VStation to make its CA before a host can know it.
    const fingerprint = caFingerprint(home, signalled);
    await this.#must(this.#together(this.#startControl(), this.#startHosts(plan, options, fingerprint)));
    // Those that ran on beside their VStation were never away. Of the others it may know only what was written before this.
    const ranOn = (name: string): boolean => living.has("vstation") && living.has(name);
    await this.#must(this.#allReady((name) => (ranOn(name) ? new Date(0) : began)));
    const first = this.#hosts.find((host) => host.kind === "namespace");
    if (options.cache !== undefined && first !== undefined) keepCapabilities(options.cache, home.hostDir(first.name));
    const credentials = readCredentials(home.credentialsFile);
    this.#endpoint = credentials.endpoint;
    this.#become("ready");
    const flag = home.path === resolve(root, ".vstation") ? "" : ` --home ${home.path}`;
    const seconds = ((Date.now() - began.getTime()) / 1000).toFixed(1);
    const hosts = `${this.#hosts.length} ${this.#hosts.length === 1 ? "host" : "hosts"}`;
    return `VStation is ready after ${seconds} s with ${hosts}: endpoint ${credentials.endpoint}, credentials in ${home.credentialsFile}; next: ./vstation${flag} instance run --image tiny --wait`;
  }

  async #startControl(): Promise<void> {
    await this.#add(await postgresSpec(this.#home));
    await postgresReady(this.#home, this.#stopping.signal);
    this.#progress("PostgreSQL answers");
    await this.#add(vstationSpec(this.#home));
  }

  async #startHosts(plan: Plan, options: LabOptions, fingerprint: Promise<string>): Promise<void> {
    // Those that take longest to boot begin first.
    for (const host of this.#hosts.toReversed()) {
      await edgeFlood(plan, host.address);
      await this.#add(await this.#hostSpec(plan, host, options, await fingerprint));
      watchServices(this.#home.hostDir(host.name), () => this.#publish());
    }
    this.#progress(`${this.#hosts.length} hosts are booting`);
  }

  async #hostSpec(plan: Plan, host: HostPlan, options: LabOptions, fingerprint: string): Promise<ChildSpec> {
    const home = this.#home;
    if (host.kind === "nested") {
      this.#kernel ??= nestedKernel(options.cache ?? join(home.path, "cache"), this.#progress);
      const kernel = await this.#kernel;
      await prepareNested(home, plan, host, kernel, fingerprint);
      return nestedSpec(home, plan, host, kernel);
    }
    prepareHost(home, plan, host, options.shape ?? defaultShape, fingerprint);
    if (options.cache !== undefined) takeCapabilities(options.cache, home.hostDir(host.name));
    return hostSpec(home, plan, host);
  }

  /** Side by side; when one fails the others give up before that is told. */
  async #together(...work: Promise<void>[]): Promise<void> {
    try {
      await Promise.all(work);
    } catch (error) {
      this.#stopping.abort(error);
      await Promise.allSettled(work);
      throw error;
    }
  }

  /** Powers everything off. Idempotent; also cleans what an earlier, killed supervisor left. */
  async stop(): Promise<void> {
    this.#stopping.abort(new Error("the lab is powering off"));
    this.#become("stopping");
    // A start in progress gives up at its next step; nothing may be born behind our back.
    await this.#starting?.catch(() => undefined);
    await this.#children.get("vstation")?.stop();
    await Promise.all(
      [...this.#children.values()].filter((child) => isHost(child.spec.name)).map((child) => child.stop()),
    );
    await this.#children.get("postgres")?.stop();
    await sweep(this.#home);
    this.#become("off");
  }

  async #remember(
    plan: Plan,
    before: Memory | undefined,
    options: LabOptions,
    living: ReadonlyMap<string, number>,
  ): Promise<Memory> {
    // A host that runs is never powered off because fewer were asked for: it may hold instances.
    const atLeast = (wanted: number, word: "host" | "nested"): number => {
      const running = [...living.keys()].map((name) => Number(new RegExp(`^${word}(\\d+)$`).exec(name)?.[1] ?? 0));
      const highest = Math.max(0, ...running);
      if (highest > wanted) this.#progress(`keeping ${word}1 to ${word}${highest}, because they are running`);
      return Math.max(wanted, highest);
    };
    const memory = {
      n: plan.n,
      apiPort: before?.apiPort ?? (await freePort()),
      hosts: atLeast(options.hosts ?? before?.hosts ?? 3, "host"),
      nested: atLeast(options.nested ?? before?.nested ?? 0, "nested"),
    };
    if (!living.has("vstation")) {
      await expectFree(memory.apiPort).catch((error: unknown) => {
        throw new Error(`this home's API port 127.0.0.1:${memory.apiPort} is taken by another program`, {
          cause: error,
        });
      });
    }
    this.#home.remember(memory);
    return memory;
  }

  async #add(spec: Child["spec"]): Promise<void> {
    this.#stopping.signal.throwIfAborted();
    const context: ChildContext = {
      home: this.#home.path,
      lifeline: (name) => this.#home.lifeline(name),
      changed: () => this.#publish(),
      log: (event, detail) => this.log(event, detail),
    };
    const child = new Child(spec, context);
    this.#children.set(spec.name, child);
    if ((await child.start()) === "started") return;
    this.#adopted = true;
    this.#progress(`${spec.name} was running and goes on`);
  }

  /** Waits for a part to become usable, or for the crash loop of anything that it may be waiting for. */
  async #must<T>(ready: Promise<T>): Promise<T> {
    let look: () => void = () => undefined;
    const loop = new Promise<never>((_, reject) => {
      look = () => {
        const [name, status] = Object.entries(this.#statuses()).find(([, each]) => each.state === "crash loop") ?? [];
        if (name === undefined) return;
        reject(
          new Error(`${name} ends again and again (last: ${status?.lastEnd ?? "unknown"}): see ${this.#logOf(name)}`),
        );
      };
    });
    this.#watchers.add(look);
    try {
      return await Promise.race([ready, loop]);
    } finally {
      this.#watchers.delete(look);
    }
  }

  #logOf(part: string): string {
    const [host, service] = part.split("/");
    if (service !== undefined) return join(this.#home.hostDir(host ?? part), "log", `${service}.log`);
    return this.#children.get(part)?.spec.logFile ?? join(this.#home.path, "log");
  }

  /** A host counts once it has been heard in this run: of one that was heard shortly before, VStation still thinks well. */
  async #allReady(since: (name: string) => Date): Promise<void> {
    let told = "";
    for (;;) {
      this.#stopping.signal.throwIfAborted();
      const states = existsSync(this.#home.credentialsFile)
        ? await hostStates(readCredentials(this.#home.credentialsFile))
        : undefined;
      await this.#inviteTakenOut(states);
      const isReady = ({ name }: HostPlan): boolean => {
        const host = states?.get(name);
        return host?.state === "ready" && host.seenAt >= since(name);
      };
      const waiting = this.#hosts.filter((host) => !isReady(host)).map((host) => host.name);
      if (states !== undefined && waiting.length === 0) return;
      const line = states === undefined ? "waiting for VStation" : `waiting for ${waiting.join(", ")}`;
      if (line !== told) this.#progress(line);
      told = line;
      await sleep(100, this.#stopping.signal);
    }
  }

  async #inviteTakenOut(states: ReadonlyMap<string, unknown> | undefined): Promise<void> {
    if (states === undefined) return;
    for (const { name } of this.#hosts) {
      if (!takenOut(this.#home, name, states.has(name)) || this.#invited.has(name)) continue;
      if (!(await inviteAgain(this.#home, readCredentials(this.#home.credentialsFile), name))) continue;
      this.#invited.add(name);
      this.#progress(`${name} was taken out of VStation and joins again: --hosts and --nested say how many there are`);
    }
  }

  #become(state: LabState): void {
    this.#state = state;
    this.#publish();
    this.log("lab", { state });
  }

  #statuses(): Record<string, ChildStatus> {
    const statuses: Record<string, ChildStatus> = {};
    for (const [name, child] of this.#children) {
      statuses[name] = child.status();
      if (!isHost(name) || child.status().state !== "running") continue;
      for (const [service, status] of Object.entries(servicesOf(this.#home.hostDir(name)))) {
        statuses[`${name}/${service}`] = status;
      }
    }
    return statuses;
  }

  #publish(): void {
    const children = this.#statuses();
    for (const [name, { state, lastEnd }] of Object.entries(children)) {
      if (state !== "crash loop" || this.#looping.has(name)) continue;
      this.#looping.add(name);
      if (name.includes("/")) this.log("crash loop", { child: name, lastEnd, see: this.#logOf(name) });
      this.#progress(`${name} ends again and again: see ${this.#logOf(name)}`);
    }
    for (const name of this.#looping) {
      // Said anew when it comes back after a while of health.
      const status = children[name];
      if (status?.state === "running" && Date.now() - Date.parse(status.since) > 30_000) this.#looping.delete(name);
    }
    writeStatus(this.#home, {
      state: this.#state,
      supervisor: this.#state === "off" ? null : process.pid,
      endpoint: this.#endpoint,
      credentialsFile: this.#home.credentialsFile,
      children,
    });
    for (const look of this.#watchers) look();
  }

  log(event: string, detail: Record<string, unknown>): void {
    const line = JSON.stringify({ time: new Date().toISOString(), event, ...detail });
    appendFileSync(this.#home.log("supervisor"), `${line}\n`, { mode: 0o600 });
  }
}

/**
 * Ends whatever of this home still runs and takes back what was changed on the machine, without any memory but the kernel's.
 * The order of a power off is kept: VStation, hosts, database.
 */
export async function sweep(home: Home): Promise<void> {
  const handles = handlesOf(home.path);
  const end = (name: string, politely: NodeJS.Signals): Promise<void> => {
    const pid = handles.get(name);
    if (pid === undefined) return Promise.resolve();
    const graceMs = hostKindOf(name) === "nested" ? nestedGraceMs : 7000;
    return endChild(pid, { namespaced: initOf(pid) !== undefined, politely, graceMs });
  };
  await end("vstation", "SIGTERM");
  await Promise.all([...handles.keys()].filter(isHost).map((name) => end(name, "SIGTERM")));
  await end("postgres", "SIGINT");
  const strays = processesOf(home.path).map((each) => each.pid);
  for (const pid of strays) signal(pid, "SIGKILL");
  if (!(await gone(strays, 10_000)))
    throw new Error(`processes ${strays.filter((pid) => isAlive(pid)).join(", ")} cannot be ended`);
  await edgeDown(home.path);
  rmSync(home.supervisorFile, { force: true });
}

function isHost(child: string): boolean {
  return hostKindOf(child) !== undefined;
}

export function describeFailure(error: unknown, home: Home): string {
  return `the lab did not come up: ${formatError(error)}\nlogs are in ${join(home.path, "log")} and ${join(home.path, "hosts/*/log")}`;
}
