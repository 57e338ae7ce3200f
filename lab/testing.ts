/**
 * A lab for tests and benchmarks: the same programs that `npm start` runs, in a home of its own, with a hand on each part.
 *
 * Parts are named `vstation`, `postgres`, `supervisor`, `host1` (the whole host), `host1/compute`, `host1/libvirtd`, or by an
 * instance's id (its QEMU). Their processes are found anew at each use, by the kernel's word: nothing here remembers a pid.
 */
import { execFile, spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, watch } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { Home, settingsFile, writeWhole } from "./home.ts";
import { hostKindOf, hostPlanOf, nestedPlanOf, planOf, type Plan } from "./plan.ts";
import { gone, handlesOf, initOf, processesInside, signal } from "./processes.ts";
import type { LabStatus } from "./status.ts";
import { hostStates, readCredentials, type Credentials } from "./vstation.ts";

const root = join(import.meta.dirname, "..");

export interface LabStart {
  readonly hosts?: number;
  readonly nested?: number;
  /** Goes to the supervisor and, if its name starts with VSTATION_, on to VStation and Compute. */
  readonly env?: Readonly<Record<string, string>>;
}

export interface Output {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export class TestLab {
  readonly home: Home;

  /** `home`: an existing or new folder; without one, a new folder under the system's temporary one. */
  constructor(home?: string) {
    this.home = new Home(home ?? mkdtempSync(join(tmpdir(), "vstation-lab-")));
  }

  /** Starts it as a user would and returns when every host is ready; throws with the program's output when it does not come up. */
  async start(options: LabStart = {}): Promise<Output> {
    const args = ["start", "--home", this.home.path, "--detach"];
    if (options.hosts !== undefined) args.push("--hosts", String(options.hosts));
    if (options.nested !== undefined) args.push("--nested", String(options.nested));
    return must(await this.run(args, options.env));
  }

  /** What the command line prints; throws where it fails, with what it said. */
  async cli(...args: string[]): Promise<string> {
    return (await promisify(execFile)(join(root, "vstation"), ["--home", this.home.path, ...args])).stdout;
  }

  /** Powers it off as a user would. */
  async stop(): Promise<Output> {
    return must(await this.run(["stop", "--home", this.home.path]));
  }

  /** Powers it off whatever its state and deletes the home. */
  async destroy(): Promise<void> {
    await this.stop();
    rmSync(this.home.path, { recursive: true, force: true });
  }

  /** Runs `setup/main.mjs` with these arguments and returns what it said. */
  run(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Output> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [join(root, "setup/main.mjs"), ...args], {
        cwd: root,
        env: { ...process.env, ...env },
        stdio: ["ignore", "pipe", "pipe"],
      });
      let stdout = "";
      let stderr = "";
      child.stdout.on("data", (text: Buffer) => (stdout += text.toString()));
      child.stderr.on("data", (text: Buffer) => (stderr += text.toString()));
      child.once("error", reject);
      child.once("close", (code) => resolve({ code: code ?? -1, stdout, stderr }));
    });
  }

  /** What VStation and Compute get in their environment from their next start on; names begin with VSTATION_. */
  settings(settings: Readonly<Record<string, string>>): void {
    const lines = Object.entries(settings).map(([name, value]) => `${name}=${value}\n`);
    writeWhole(settingsFile(this.home.path), lines.join(""), 0o600);
  }

  get plan(): Plan {
    const memory = this.home.remembered();
    if (memory === undefined) throw new Error(`${this.home.path} has never been started`);
    return planOf(memory.n);
  }

  get credentials(): Credentials {
    return readCredentials(this.home.credentialsFile);
  }

  status(): LabStatus {
    return JSON.parse(readFileSync(this.home.statusFile, "utf8")) as LabStatus;
  }

  /** The underlay address of a host. */
  addressOf(host: string): string {
    const index = Number(host.replace(/^\D+/, ""));
    return (hostKindOf(host) === "nested" ? nestedPlanOf : hostPlanOf)(this.plan, index).address;
  }

  /** The process of a part, by its number out here; undefined when it is not there. */
  pidOf(part: string): number | undefined {
    if (part === "supervisor") return this.status().supervisor ?? undefined;
    if (part.startsWith("ins-")) return this.guestsOf(part)[0]?.pid;
    const [host, service] = part.split("/");
    const handle = handlesOf(this.home.path).get(host ?? part);
    if (handle === undefined || part === "vstation") return handle;
    const init = initOf(handle);
    if (service === undefined || init === undefined) return init;
    const all = processesInside(init);
    // What a service has forked looks like it until it becomes another program, and may have lost its parent by then.
    const keepers = new Set(all.filter(({ command }) => isKeeper(command)).map(({ pid }) => pid));
    return all.find(({ ppid, command }) => keepers.has(ppid) && isService(service, command))?.pid;
  }

  /** The host on which an instance's QEMU runs; undefined when none does. */
  hostOf(instanceId: string): string | undefined {
    return this.guestsOf(instanceId)[0]?.host;
  }

  /** Every running QEMU of an instance: during a migration there are two, otherwise more than one must never be seen. */
  guestsOf(instanceId: string): { host: string; pid: number }[] {
    const found: { host: string; pid: number }[] = [];
    for (const [host, handle] of handlesOf(this.home.path)) {
      const init = /^host\d+$/.test(host) ? initOf(handle) : undefined;
      for (const { pid, command } of init === undefined ? [] : processesInside(init)) {
        if (isGuest(instanceId, command)) found.push({ host, pid });
      }
    }
    return found;
  }

  /** Sends a signal to a part; throws when it is not there. */
  signal(part: string, name: NodeJS.Signals): number {
    const pid = this.pidOf(part);
    if (pid === undefined || !signal(pid, name)) throw new Error(`${part} is not running in ${this.home.path}`);
    return pid;
  }

  /** SIGKILL, and returns when the process is gone. */
  async kill(part: string): Promise<void> {
    const pid = this.signal(part, "SIGKILL");
    if (!(await gone([pid], 20_000))) throw new Error(`${part} (${pid}) survived SIGKILL`);
  }

  pause(part: string): void {
    this.signal(part, "SIGSTOP");
  }

  resume(part: string): void {
    this.signal(part, "SIGCONT");
  }

  /** Pulls a host's plug and puts it back: everything on it ends at once, and it boots again with its disks. */
  async powerCycle(host: string): Promise<void> {
    const before = this.status().children[host]?.restarts ?? 0;
    await this.kill(host);
    await this.until((status) => (status.children[host]?.restarts ?? 0) > before && this.pidOf(host) !== undefined);
  }

  /** Waits until `status.json` satisfies the predicate; looked at whenever the file changes. */
  async until(predicate: (status: LabStatus) => boolean, timeoutMs = 60_000): Promise<LabStatus> {
    const timeout = AbortSignal.timeout(timeoutMs);
    const watcher = watch(dirname(this.home.statusFile));
    try {
      return await new Promise((resolve, reject) => {
        const look = (): void => {
          const status = this.status();
          if (predicate(status)) resolve(status);
        };
        timeout.addEventListener("abort", () =>
          reject(new Error(`not seen within ${timeoutMs} ms; last: ${JSON.stringify(this.status())}`)),
        );
        watcher.on("change", look);
        // A part may be up a moment before or after it is written down.
        watcher.on("error", reject);
        look();
      });
    } finally {
      watcher.close();
    }
  }

  /** Name -> state of the hosts in VStation's own words; empty while it does not answer. */
  async hosts(): Promise<ReadonlyMap<string, string>> {
    const states = (await hostStates(this.credentials)) ?? [];
    return new Map([...states].map(([name, { state }]) => [name, state]));
  }
}

/** The shell that starts a service, again and again. */
function isKeeper(command: readonly string[]): boolean {
  return command[1]?.endsWith("host/services.sh") === true;
}

function isService(service: string, command: readonly string[]): boolean {
  switch (service) {
    case "libvirtd":
      return command[0]?.endsWith("libvirtd") === true;
    case "compute":
      return command[1]?.endsWith("src/compute/main.ts") === true;
    default:
      throw new Error(`there is no service ${service} on a lab host`);
  }
}

/** libvirt names a guest's QEMU by `-name guest=NAME,...`. */
function isGuest(instanceId: string, command: readonly string[]): boolean {
  const name = command[command.indexOf("-name") + 1] ?? "";
  return command[0]?.includes("qemu-system") === true && name.split(",").includes(`guest=${instanceId}`);
}

function must(output: Output): Output {
  if (output.code === 0) return output;
  throw new Error(`ended with status ${output.code}\n${output.stdout}${output.stderr}`);
}
