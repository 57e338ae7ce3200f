/** A machine of its own for tests of installing (machine.sh), plugged into an underlay: a lab's, or one by itself. Nothing in it is a lab's. */
import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { basename, join } from "node:path";
import { edgeFlood } from "../../../lab/edge.ts";
import { hostPlanOf, type Plan } from "../../../lab/plan.ts";
import { initOf, signal } from "../../../lab/processes.ts";
import { until } from "../../until.ts";
import { makeCgroup, removeCgroup } from "./cgroup.ts";

const root = join(import.meta.dirname, "../../..");

/** A lab, or an underlay and a folder of which nothing shall be seen in the machine. */
export interface Wire {
  readonly plan: Plan;
  readonly home: { readonly path: string };
}

export interface Said {
  readonly code: number;
  /** Standard output and error together. */
  readonly text: string;
}

/** What the installer and Compute leave on a machine, by its own tools. */
export const traces =
  "ls -d /opt/vstation /etc/vstation /var/lib/vstation /run/vstation /etc/modules-load.d/vstation.conf " +
  "/etc/pki/qemu/vstation 2>/dev/null; " +
  "nft list tables | grep vstation; ip -o link show | grep -E 'alias vstation|vxlan|br-'; ls /run/netns 2>/dev/null; " +
  "grep vstation /etc/libvirt/qemu.conf; pgrep -af 'vstation|dnsmasq|qemu-system' | grep -v ' sh -c '";

export class Machine {
  readonly name: string;
  readonly address: string;
  readonly #dir: string;
  readonly #cgroup: string | undefined;
  readonly #handle: ChildProcess;

  private constructor(name: string, address: string, dir: string, cgroup: string | undefined, handle: ChildProcess) {
    this.name = name;
    this.address = address;
    this.#dir = dir;
    this.#cgroup = cgroup;
    this.#handle = handle;
  }

  /** `index`: beyond the lab's own hosts. */
  static async start(lab: Wire, name: string, index: number): Promise<Machine> {
    const { address, port, mac } = hostPlanOf(lab.plan, index);
    // Not below what is hidden from it.
    const dir = mkdtempSync("/var/tmp/vstation-machine-");
    const cgroup = makeCgroup(basename(dir));
    const log = openSync(join(dir, "log"), "a");
    const boot = join(import.meta.dirname, "machine.sh");
    const handle = spawn(
      "sh",
      [
        ...[
          "-c",
          'exec 4</proc/self/ns/net; [ -z "$MACHINE_CGROUP" ] || echo $$ > "$MACHINE_CGROUP/cgroup.procs"; exec "$@"',
          "sh",
          "unshare",
          "--net",
          "--uts",
          "--mount",
          "--cgroup",
          "--ipc",
        ],
        ...["--propagation", "private", "--pid", "--fork", "--kill-child=SIGKILL", "sh", boot],
      ],
      {
        stdio: ["ignore", log, log],
        env: {
          PATH: process.env["PATH"],
          MACHINE_DIR: dir,
          MACHINE_CGROUP: cgroup ?? "",
          MACHINE_NAME: name,
          MACHINE_ADDRESS: address,
          MACHINE_PORT: port,
          MACHINE_MAC: mac,
          MACHINE_BRIDGE: lab.plan.underlay.bridge,
          MACHINE_GATEWAY: lab.plan.underlay.address,
          MACHINE_HIDES: `${root} ${lab.home.path}`,
        },
      },
    );
    closeSync(log);
    const machine = new Machine(name, address, dir, cgroup, handle);
    await until("the machine to be up", () => {
      if (handle.exitCode !== null) throw new Error(readFileSync(join(dir, "log"), "utf8"));
      return existsSync(join(dir, "up"));
    });
    // The lab's own end of the guests' network does not know a host that it did not make.
    await edgeFlood(lab.plan, address);
    return machine;
  }

  /** Runs a shell command in it to its end; it reads `input`. */
  run(
    command: string,
    { timeoutMs = 240_000, input = "" }: { timeoutMs?: number; input?: string | Buffer } = {},
  ): Promise<Said> {
    return new Promise((resolve) => {
      const options = { timeout: timeoutMs, killSignal: "SIGKILL" } as const;
      const child = execFile("nsenter", this.#enter(command), options, (error, out, err) => {
        const code = error === null ? 0 : typeof error.code === "number" ? error.code : 255;
        resolve({ code, text: `${out}${err}` });
      });
      child.stdin?.on("error", () => undefined).end(input);
    });
  }

  /** As run, and what fails is an error with all that it said; returns what it said. */
  async must(command: string, options: { timeoutMs?: number; input?: string | Buffer } = {}): Promise<string> {
    const { code, text } = await this.run(command, options);
    if (code !== 0) throw new Error(`${this.name}: ${command}\nended with ${code}: ${text.slice(-4_000)}`);
    return text;
  }

  /** Pulls the plug and throws it away. */
  async destroy(): Promise<void> {
    const handle = this.#handle;
    if (handle.exitCode === null && handle.signalCode === null) {
      const gone = once(handle, "exit");
      const init = this.#init;
      // unshare waits for PID 1, and the kernel lets that go last: after it nothing of the machine writes into its folder any more.
      if (init === undefined) handle.kill("SIGKILL");
      else signal(init, "SIGKILL");
      await gone;
    }
    rmSync(this.#dir, { recursive: true, force: true, maxRetries: 5 });
    if (this.#cgroup !== undefined) await removeCgroup(this.#cgroup);
  }

  /** PID 1 by its number out here; undefined when it is off. */
  get #init(): number | undefined {
    return this.#handle.pid === undefined ? undefined : initOf(this.#handle.pid);
  }

  #enter(command: string): string[] {
    const init = this.#init;
    if (init === undefined) throw new Error(`${this.name} is off`);
    return ["-t", String(init), "-n", "-u", "-m", "-p", "-C", "-i", "-r", "-w", "sh", "-c", `cd /; ${command}`];
  }
}
