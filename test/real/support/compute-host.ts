/**
 * A host of the test's own for Compute: namespaces with a network, processes, mounts and a libvirtd of their own, on a bridge that
 * the test process is a member of. Compute itself is started and killed in it at will; guests and libvirtd live on.
 *
 * PID 1 is tini, so that dead QEMUs are reaped. Everything ends with PID 1, and PID 1 ends with the test process.
 */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, createWriteStream, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { childrenOf, signal as send, statOf } from "../../../lab/processes.ts";
import { imageCache } from "../../../setup/root.mjs";
import type { ComputeConfig } from "../../../src/compute/config.ts";
import { until } from "../../until.ts";

const root = resolve(import.meta.dirname, "../../..");

const tlsDirectory = "/etc/libvirt/tls";

/** The cable between hosts, and the test's own end of it. */
export class TestUnderlay {
  readonly bridge: string;
  readonly address: string;
  readonly #prefix: string;

  constructor() {
    const number = madeBridge();
    this.bridge = `vtc${number}`;
    this.#prefix = `10.213.${number}`;
    this.address = this.host(1);
    ip(`addr add ${this.address}/24 dev ${this.bridge}`);
    ip(`link set ${this.bridge} up`);
  }
  host(number: number): string {
    return `${this.#prefix}.${number}`;
  }
  get cidr(): string {
    return `${this.#prefix}.0/24`;
  }
  remove(): void {
    ip(`link del ${this.bridge}`);
  }
}

/** Other tests make theirs at the same time: whoever makes it has the number. One that a killed test has left is passed over. */
function madeBridge(): number {
  for (let tried = 0; ; tried++) {
    const number = ((process.pid + tried) % 250) + 1;
    try {
      execFileSync("ip", `link add vtc${number} mtu 1550 type bridge`.split(" "), { stdio: "pipe" });
      return number;
    } catch (error) {
      if (tried === 250 || !String(error).includes("File exists")) throw error;
    }
  }
}

export interface ComputeHostOptions {
  readonly underlay: TestUnderlay;
  readonly number: number;
  readonly agents: { readonly port: number; readonly caFingerprint: string; readonly token: string };
  readonly imageDir?: string;
  /** The folder that all hosts of the zone see. */
  readonly sharedDir?: string;
  /** Where disks lie, if not in the host's folder. */
  readonly stateDir?: string;
  readonly shape?: ComputeConfig["shape"];
}

export class ComputeHost {
  readonly dir: string;
  readonly name: string;
  readonly address: string;
  readonly #init: ChildProcess;
  #initPid = 0;
  #compute: ChildProcess | null = null;
  #libvirtd: ChildProcess | null = null;
  readonly stateDir: string;

  private constructor(dir: string, options: ComputeHostOptions, init: ChildProcess) {
    this.dir = dir;
    this.name = `h${options.number}`;
    this.address = options.underlay.host(options.number + 1);
    this.stateDir = options.stateDir ?? join(dir, "state");
    this.#init = init;
  }

  static async start(options: ComputeHostOptions): Promise<ComputeHost> {
    const dir = mkdtempSync(join(tmpdir(), "ch-"));
    chmodSync(dir, 0o755);
    const { underlay, number } = options;
    const name = `h${number}`;
    const folders = {
      run: "/run",
      etc: "/etc/libvirt",
      lib: "/var/lib/libvirt",
      cache: "/var/cache/libvirt",
      log: "/var/log/libvirt",
    };
    for (const folder of Object.keys(folders)) mkdirSync(join(dir, folder));
    for (const folder of ["run/lock", "run/libvirt", "state", "etc/tls"]) mkdirSync(join(dir, folder));
    writeFileSync(join(dir, "hosts"), `127.0.0.1 localhost ${name}\n`);
    writeFileSync(
      join(dir, "etc/libvirtd.conf"),
      [
        `host_uuid = "${randomUUID()}"`,
        `auth_unix_rw = "none"`,
        `unix_sock_rw_perms = "0700"`,
        `log_outputs = "3:file:/var/log/libvirt/libvirtd.log"`,
        ``,
      ].join("\n"),
    );
    writeFileSync(
      join(dir, "etc/qemu.conf"),
      [
        `user = "root"`,
        `group = "root"`,
        `remember_owner = 0`,
        `security_driver = "none"`,
        `cgroup_controllers = []`,
        `stdio_handler = "file"`,
        `migrate_tls_x509_cert_dir = "${tlsDirectory}"`,
        ``,
      ].join("\n"),
    );
    const script = [
      "set -e",
      `hostname ${name}`,
      ...Object.entries(folders).map(([from, to]) => `mkdir -p ${to} && mount --bind ${dir}/${from} ${to}`),
      `mount --bind ${dir}/hosts /etc/hosts`,
      "ip link set lo up",
      "echo ready",
      "exec sleep infinity",
    ].join("\n");
    const unshare = ["unshare", "--mount", "--pid", "--uts", "--net", "--fork", "--kill-child=KILL", "--mount-proc"];
    const init = spawn("setpriv", ["--pdeathsig", "KILL", ...unshare, "tini", "--", "sh", "-c", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const host = new ComputeHost(dir, options, init);
    if (init.stdout) await once(init.stdout, "data");
    host.#initPid = await childOf(init);
    const outer = `${underlay.bridge}h${number}`;
    ip(`link add ${outer} mtu 1550 type veth peer name eth0 mtu 1550 netns ${host.#initPid}`);
    ip(`link set ${outer} master ${underlay.bridge} up`);
    host.sh(
      `sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip addr add ${host.address}/24 dev eth0; ip link set eth0 up; ip route add default via ${underlay.address}`,
    );
    const config: ComputeConfig = {
      name,
      stateDir: host.stateDir,
      runDir: "/run/vstation",
      imageDir: options.imageDir ?? imageCache,
      imageCacheGiB: 100,
      ...(options.sharedDir === undefined ? {} : { sharedDir: options.sharedDir }),
      libvirtSocket: "/run/libvirt/libvirt-sock",
      vstation: {
        servers: [`${underlay.address}:${options.agents.port}`],
        caFingerprint: options.agents.caFingerprint,
        joinTokenFile: join(dir, "token"),
      },
      shape: options.shape ?? { cores: 8, memoryMiB: 8192, diskGiB: 100 },
      overcommit: { cpu: 4, memory: 1 },
      network: { underlayAddress: host.address, underlayDevice: "eth0" },
      migration: { tlsDirectory, silenceSeconds: 6 },
    };
    writeFileSync(join(dir, "token"), options.agents.token);
    writeFileSync(join(dir, "compute.json"), JSON.stringify(config));
    await host.startLibvirtd();
    return host;
  }

  /** Runs a shell line inside the host and returns what it printed. */
  sh(line: string): string {
    return execFileSync("nsenter", [...this.#enter(), "sh", "-c", line], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
    });
  }

  /** Runs a program inside the host until it ends or is killed. */
  spawn(command: readonly string[]): ChildProcess {
    return spawn("nsenter", [...this.#enter(), ...command], { stdio: "ignore" });
  }

  async startLibvirtd(): Promise<void> {
    const drain = `${join(root, "node_modules/.bin/node")} ${join(root, "src/compute/drain-monitors.ts")}`;
    const command = [...this.#enter(), "sh", "-c", `${drain}; exec libvirtd`];
    this.#libvirtd = spawn("nsenter", command, { stdio: ["ignore", "ignore", "inherit"] });
    await until("libvirtd's socket", () => answers(join(this.dir, "run/libvirt/libvirt-sock")), 60_000);
  }

  async signalLibvirtd(signal: NodeJS.Signals): Promise<void> {
    const child = this.#libvirtd;
    if (child?.pid === undefined) throw new Error("libvirtd does not run");
    const gone = signal === "SIGKILL" ? once(child, "exit") : null;
    process.kill(await childOf(child), signal);
    // nsenter stops itself when its child is stopped; it must not stay so and leave the child's end unseen.
    if (signal !== "SIGSTOP") child.kill("SIGCONT");
    await gone;
  }

  /** Starts Compute; `env` for crash points. Its log is appended to `compute.log`. */
  startCompute(env: Record<string, string> = {}): ChildProcess {
    const child = spawn(
      "nsenter",
      [
        ...this.#enter(),
        join(root, "node_modules/.bin/node"),
        join(root, "src/compute/main.ts"),
        "--config",
        join(this.dir, "compute.json"),
      ],
      { stdio: ["ignore", "ignore", "pipe"], env: { ...process.env, VSTATION_LOG: "debug", ...env } },
    );
    child.stderr?.pipe(createWriteStream(join(this.dir, "compute.log"), { flags: "a" }));
    this.#compute = child;
    return child;
  }

  /** Keeps Compute running, as a service manager does, until stopped. */
  superviseCompute(env: Record<string, string> = {}): { stop(): Promise<void> } {
    const ending = new AbortController();
    const life = (async () => {
      while (!ending.signal.aborted) {
        await once(this.startCompute(env), "exit");
        await delay(100);
      }
    })();
    return {
      stop: async () => {
        ending.abort();
        await this.killCompute("SIGTERM");
        await life;
      },
    };
  }

  /** Ends Compute by a signal and resolves when it is gone. */
  async killCompute(signal: NodeJS.Signals = "SIGKILL"): Promise<void> {
    const child = this.#compute;
    if (child?.pid === undefined || hasEnded(child)) return;
    const { pid } = child;
    const gone = once(child, "exit");
    // It may end by itself just now; then there is nobody left to be told.
    const inner = await childOf(child).catch(() => pid);
    send(inner, signal);
    // One that has stopped itself would not hear of the end, and nsenter has stopped with it.
    if (signal !== "SIGKILL") send(inner, "SIGCONT");
    child.kill("SIGCONT");
    await gone;
  }

  /** Compute has stopped itself (SIGSTOP), and does nothing until it is told to go on. */
  get isComputeStopped(): boolean {
    const pid = this.#compute?.pid;
    return pid !== undefined && childrenOf(pid).some((child) => statOf(child)?.state === "T");
  }

  /** Lets a Compute go on that has stopped itself, and nsenter, which stops with its child. */
  async continueCompute(): Promise<void> {
    const child = this.#compute;
    if (child?.pid === undefined) throw new Error("Compute does not run");
    process.kill(await childOf(child), "SIGCONT");
    child.kill("SIGCONT");
  }

  /** After a test that failed with harm done to it: what was stopped, killed, cut or slowed is as before. */
  async mend(): Promise<void> {
    const cuts = "nft delete table inet cut; ip route flush type blackhole; tc qdisc del dev eth0 root";
    this.sh(`(${cuts}) 2>/dev/null || true`);
    if (hasEnded(this.#libvirtd)) await this.startLibvirtd();
    else await this.signalLibvirtd("SIGCONT");
    if (hasEnded(this.#compute)) this.startCompute();
    else await this.continueCompute();
  }

  computeLog(): string {
    return readFileSync(join(this.dir, "compute.log"), "utf8");
  }

  /** The host-side process id (inside the host's namespace) of a domain's QEMU, if one runs. */
  qemuPid(domain: string): number | undefined {
    const found = this.sh(`pgrep -f 'guest[=]${domain},' || true`).trim().split("\n")[0] ?? "";
    return found === "" ? undefined : Number(found);
  }

  /** What a power cut leaves: no process, no link of ours, an empty /run; the disks and libvirt's definitions. */
  async powerCut(): Promise<void> {
    await this.signalLibvirtd("SIGKILL");
    this.sh("pkill -9 qemu-system || true; pkill -9 dnsmasq || true");
    this.sh(`ip -br link | awk '/^(br|vx|rp|up)-/ {sub("@.*", "", $1); print $1}' | xargs -rn1 ip link del`);
    this.sh("ip -all netns delete; nft flush ruleset");
    this.sh("rm -rf /run/vstation /run/libvirt/*");
    await this.startLibvirtd();
  }

  async stop(): Promise<void> {
    if (this.#init.exitCode === null && this.#init.signalCode === null) {
      const gone = once(this.#init, "exit");
      process.kill(this.#initPid, "SIGKILL");
      await gone;
    }
    rmSync(this.dir, { recursive: true, force: true, maxRetries: 5 });
  }

  #enter(): string[] {
    return ["-t", String(this.#initPid), "-m", "-p", "-u", "-n"];
  }
}

function ip(line: string): void {
  execFileSync("ip", line.split(" "));
}

/** One that has never begun counts as well. */
function hasEnded(child: ChildProcess | null): boolean {
  return child?.exitCode !== null || child.signalCode !== null;
}

/** The one child of a process, as soon as it has one; throws when it ends without. */
async function childOf(parent: ChildProcess): Promise<number> {
  const pid = parent.pid ?? 0;
  for (const deadline = Date.now() + 10_000; Date.now() < deadline && !hasEnded(parent);) {
    const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8").catch(() => "");
    const child = Number(children.trim().split(" ")[0]);
    if (child > 0) return child;
    await delay(5);
  }
  throw new Error(`process ${pid} has no child`);
}

function answers(path: string): Promise<boolean> {
  return new Promise((done) => {
    const socket = connect(path);
    socket.on("connect", () => {
      socket.destroy();
      done(true);
    });
    socket.on("error", () => done(false));
  });
}
