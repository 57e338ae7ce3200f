/**
 * A libvirtd of the test's own, with everything it would share with the machine replaced: it lives in its own mount, pid and
 * host-name namespace with its own /run, /etc/libvirt, /var/lib/libvirt, /var/cache/libvirt and /var/log/libvirt under one
 * temporary directory. Several of them run side by side, and beside the machine's own.
 *
 * PID 1 of the namespace is tini, which reaps orphans: QEMU daemonizes, and a dead QEMU that stays a zombie makes libvirtd wait
 * 40 s at every destroy. libvirtd is not PID 1, so killing it leaves its guests alive, as on a real host. Ending PID 1 ends all of it,
 * and it ends by itself when the test process dies.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { randomBytes, randomUUID } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { mkdirSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const mounts = {
  run: "/run",
  etc: "/etc/libvirt",
  lib: "/var/lib/libvirt",
  cache: "/var/cache/libvirt",
  log: "/var/log/libvirt",
} as const;

export interface PrivateLibvirtdOptions {
  /** Lines for libvirtd.conf and qemu.conf beside the usual ones. */
  readonly libvirtdConf?: readonly string[];
  readonly qemuConf?: readonly string[];
}

export class PrivateLibvirtd {
  /** The directory that holds all of its files; also a place for the test's own. */
  readonly dir: string;
  readonly hostname: string;
  readonly #init: ChildProcess;
  /** As seen from the test's pid namespace. */
  #initPid = 0;
  #nsenter: ChildProcess | undefined;
  /** 0 until nsenter has its child. */
  #daemonPid = 0;

  private constructor(dir: string, hostname: string, init: ChildProcess) {
    this.dir = dir;
    this.hostname = hostname;
    this.#init = init;
  }

  get socketPath(): string {
    return join(this.dir, "run/libvirt/libvirt-sock");
  }

  /** libvirtd's process id, for signals. */
  get pid(): number {
    return this.#daemonPid;
  }

  /** Makes the namespaces, writes the configuration and starts libvirtd; resolves when its socket answers. */
  static async start(options: PrivateLibvirtdOptions = {}): Promise<PrivateLibvirtd> {
    const dir = await mkdtemp(join(tmpdir(), "lv-"));
    const hostname = `host-${randomBytes(3).toString("hex")}`;
    for (const name of Object.keys(mounts)) mkdirSync(join(dir, name));
    // libvirtd locks a console's pty in /var/lock, which is /run/lock.
    mkdirSync(join(dir, "run/lock"));
    writeConfiguration(dir, hostname, options);
    const script = [
      "set -e",
      `hostname ${hostname}`,
      ...Object.entries(mounts).map(([name, target]) => `mkdir -p ${target} && mount --bind ${dir}/${name} ${target}`),
      `mount --bind ${dir}/hosts /etc/hosts`,
      "echo ready",
      "exec sleep infinity",
    ].join("\n");
    const unshare = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=KILL", "--mount-proc"];
    const init = spawn("setpriv", ["--pdeathsig", "KILL", ...unshare, "tini", "--", "sh", "-c", script], {
      // What unshare has to say when its child is killed is of no interest.
      stdio: ["ignore", "pipe", "ignore"],
    });
    const self = new PrivateLibvirtd(dir, hostname, init);
    try {
      if (init.stdout) await Promise.race([once(init.stdout, "data"), exited(init, "the namespace")]);
      self.#initPid = await childOf(init.pid ?? 0);
      await self.startDaemon();
    } catch (error) {
      await self.stop();
      throw error;
    }
    return self;
  }

  /** Starts libvirtd (again); resolves when its socket answers. */
  async startDaemon(): Promise<void> {
    const enter = ["-t", String(this.#initPid), "-m", "-p", "-u"];
    const nsenter = spawn("nsenter", [...enter, "libvirtd"], { stdio: ["ignore", "ignore", "inherit"] });
    this.#nsenter = nsenter;
    this.#daemonPid = 0;
    this.#daemonPid = await childOf(nsenter.pid ?? 0);
    const deadline = Date.now() + 60_000;
    while (!(await answers(this.socketPath))) {
      if (nsenter.exitCode !== null || Date.now() > deadline) {
        throw new Error(`libvirtd did not come up: ${await this.logText()}`);
      }
      await delay(20);
    }
  }

  /** Ends libvirtd and resolves when it is gone; its guests live on. */
  async killDaemon(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const nsenter = this.#nsenter;
    if (!nsenter || nsenter.exitCode !== null || nsenter.signalCode !== null) return;
    const gone = once(nsenter, "exit");
    this.signal(signal);
    // nsenter stops itself when its child is stopped, and must go on to see it end.
    nsenter.kill("SIGCONT");
    await gone;
  }

  /** Sends a signal such as SIGSTOP or SIGCONT; one that has died meanwhile does not hear it. */
  signal(signal: NodeJS.Signals): void {
    // To the kernel 0 is the sender's whole process group.
    if (this.#daemonPid === 0) {
      this.#nsenter?.kill(signal);
      return;
    }
    try {
      process.kill(this.#daemonPid, signal);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    }
    if (signal === "SIGCONT") this.#nsenter?.kill(signal);
  }

  /** libvirtd runs, as far as its parent knows. */
  get isUp(): boolean {
    return this.#nsenter?.exitCode === null && this.#nsenter.signalCode === null;
  }

  /** The process id, within the namespace, of a guest's QEMU that runs now. Equal ids mean the same process. */
  async qemuPid(domain: string): Promise<number | undefined> {
    const text = await readFile(join(this.dir, `run/libvirt/qemu/${domain}.pid`), "utf8").catch(() => "");
    // Through PID 1's root the namespace's own /proc is in reach.
    const stat = await readFile(`/proc/${this.#initPid}/root/proc/${text.trim()}/stat`, "utf8").catch(() => "");
    return /^\d+ \(qemu.*\) [^Z]/.test(stat) ? Number(text) : undefined;
  }

  /** Sends a signal to a guest's QEMU. */
  async signalQemu(domain: string, signal: "STOP" | "CONT" | "KILL"): Promise<void> {
    const pid = await this.qemuPid(domain);
    const kill = spawn("nsenter", ["-t", String(this.#initPid), "-p", "-m", "kill", `-${signal}`, String(pid)]);
    const [code] = (await once(kill, "exit")) as [number | null];
    if (code !== 0) throw new Error(`no ${signal} for ${domain}`);
  }

  async logText(): Promise<string> {
    return await readFile(join(this.dir, "log/libvirtd.log"), "utf8").catch(() => "(no log)");
  }

  /** Ends everything in the namespace and removes its files. */
  async stop(): Promise<void> {
    await this.killDaemon();
    if (this.#init.exitCode === null && this.#init.signalCode === null) {
      const gone = once(this.#init, "exit");
      if (this.#initPid > 0) process.kill(this.#initPid, "SIGKILL");
      else this.#init.kill("SIGKILL");
      await gone;
    }
    await rm(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function writeConfiguration(dir: string, hostname: string, options: PrivateLibvirtdOptions): void {
  const write = (path: string, lines: readonly string[]): void =>
    writeFileSync(join(dir, path), `${lines.join("\n")}\n`);
  write("hosts", ["127.0.0.1 localhost", `127.0.0.1 ${hostname}`]);
  write("etc/libvirtd.conf", [
    `host_uuid = "${randomUUID()}"`,
    'auth_unix_rw = "none"',
    'auth_unix_ro = "none"',
    'unix_sock_rw_perms = "0700"',
    'log_outputs = "3:file:/var/log/libvirt/libvirtd.log"',
    ...(options.libvirtdConf ?? []),
  ]);
  write("etc/qemu.conf", [
    'user = "root"',
    'group = "root"',
    "dynamic_ownership = 0",
    "remember_owner = 0",
    'security_driver = "none"',
    "cgroup_controllers = []",
    "namespaces = []",
    'stdio_handler = "file"',
    ...(options.qemuConf ?? []),
  ]);
}

/** The one child of a process, as soon as it has one. */
async function childOf(pid: number): Promise<number> {
  for (const deadline = Date.now() + 10_000; Date.now() < deadline;) {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
    const child = Number(children.trim().split(" ")[0]);
    if (child > 0) return child;
    await delay(5);
  }
  throw new Error(`process ${pid} has no child`);
}

async function answers(path: string): Promise<boolean> {
  return await new Promise((resolve) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}

async function exited(child: ChildProcess, what: string): Promise<never> {
  await once(child, "exit");
  throw new Error(`${what} ended at once`);
}
