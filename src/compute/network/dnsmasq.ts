/**
 * One dnsmasq per subnet on this host: addresses (static leases of local instances only) and names (forwarded) for its guests.
 *
 * It is a process of its own that outlives Compute, so that a restart of Compute is nothing a guest could notice; a new Compute
 * finds it by its pid file and takes it over if its configuration is still the wanted one. A lease is a file in `dhcp-hostsdir`:
 * dnsmasq takes a new file by inotify, at once and without a signal; a removal needs SIGHUP. Leases are infinite, because a guest
 * must not lose its address while no dnsmasq answers.
 *
 * Nothing leaks to other hosts: it is bound to the subnet's bridge, requests are broadcasts, and broadcasts do not cross VXLAN.
 */
import { spawn } from "node:child_process";
import { mkdir, readFile, readdir, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { WantedSubnet } from "../../api/agent.ts";
import { formatError, wrap } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { bridgeName } from "./plan.ts";

const shortestLifeMs = 5_000;

export interface Lease {
  readonly mac: string;
  readonly ip: string;
}

/** The configuration file's text. */
export function dnsmasqConfig(subnet: WantedSubnet, directory: string): string {
  const [network = "", prefix = ""] = subnet.cidr.split("/");
  const names = subnet.dns.length > 0;
  return [
    `interface=${bridgeName(subnet.id)}`,
    `except-interface=lo`,
    `bind-dynamic`,
    `no-hosts`,
    `no-resolv`,
    // It has bound its ports by then, and serves tenants.
    `user=nobody`,
    `group=nogroup`,
    `pid-file=${join(directory, "pid")}`,
    `log-facility=${join(directory, "log")}`,
    `quiet-dhcp`,
    ...(names ? subnet.dns.map((server) => `server=${server}`) : [`port=0`]),
    `dhcp-authoritative`,
    `leasefile-ro`,
    `no-ping`,
    `dhcp-range=${network},static,${netmask(Number(prefix))},infinite`,
    `dhcp-option=option:router,${subnet.gateway}`,
    ...(names ? [`dhcp-option=option:dns-server,${subnet.gateway}`] : [`dhcp-option=option:dns-server`]),
    `dhcp-option=option:mtu,${subnet.mtu}`,
    `dhcp-hostsdir=${join(directory, "hosts")}`,
    ``,
  ].join("\n");
}

function netmask(prefix: number): string {
  const bits = prefix === 0 ? 0 : (0xffffffff << (32 - prefix)) >>> 0;
  return [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join(".");
}

export class Dnsmasq {
  readonly #directory: string;
  readonly #log: Log;
  #subnet: WantedSubnet | null = null;
  #pid: number | null = null;
  #leases = new Map<string, string>();
  #closed = false;
  readonly #onEnd: () => void;

  /** `directory`: this subnet's own, under runDir. `onEnd`: the process ended by itself after running for a while. */
  constructor(directory: string, log: Log, onEnd: () => void) {
    this.#directory = directory;
    this.#log = log;
    this.#onEnd = onEnd;
  }

  /** Brings the process to the wanted configuration; cheap when it runs with it already. */
  async ensure(subnet: WantedSubnet): Promise<void> {
    await mkdir(join(this.#directory, "hosts"), { recursive: true, mode: 0o755 });
    const config = dnsmasqConfig(subnet, this.#directory);
    const file = join(this.#directory, "dnsmasq.conf");
    const same = (await readText(file)) === config;
    if (this.#subnet === null) await this.#readLeases();
    this.#subnet = subnet;
    this.#pid = await this.#findProcess();
    if (this.#pid !== null && same) return;
    if (this.#pid !== null) await this.#end(this.#pid);
    await writeFile(file, config);
    await this.#start(file);
  }

  /** Hands out this address to that MAC from now on. `name` is the file's name, unique per NIC. */
  async addLease(name: string, lease: Lease): Promise<void> {
    const line = `${lease.mac},${lease.ip},infinite\n`;
    const before = this.#leases.get(name);
    if (before === line) return;
    const hosts = join(this.#directory, "hosts");
    // dnsmasq skips names that begin with a dot, and sees the rename.
    await writeFile(join(hosts, `.${name}`), line);
    await rename(join(hosts, `.${name}`), join(hosts, name));
    this.#leases.set(name, line);
    if (before !== undefined) this.#reload();
  }

  /** Keeps only these lease files. */
  async keepLeases(names: ReadonlySet<string>): Promise<void> {
    const unwanted = [...this.#leases.keys()].filter((name) => !names.has(name));
    if (unwanted.length === 0) return;
    for (const name of unwanted) {
      await rm(join(this.#directory, "hosts", name), { force: true });
      this.#leases.delete(name);
    }
    this.#reload();
  }

  /** Ends the process and removes its folder: the subnet is not wanted here any more. */
  async remove(): Promise<void> {
    this.#closed = true;
    const pid = await this.#findProcess();
    if (pid !== null) await this.#end(pid);
    await rm(this.#directory, { recursive: true, force: true });
  }

  #reload(): void {
    if (this.#pid !== null) signal(this.#pid, "SIGHUP");
  }

  async #readLeases(): Promise<void> {
    const hosts = join(this.#directory, "hosts");
    for (const name of await readdir(hosts)) {
      if (name.startsWith(".")) await rm(join(hosts, name), { force: true });
      else this.#leases.set(name, (await readText(join(hosts, name))) ?? "");
    }
  }

  /** The pid in the pid file, if that process is our dnsmasq; a pid alone may be somebody else's by now. */
  async #findProcess(): Promise<number | null> {
    const pid = Number((await readText(join(this.#directory, "pid"))) ?? "");
    if (!Number.isInteger(pid) || pid <= 1) return null;
    const command = await readText(`/proc/${pid}/cmdline`);
    return command?.includes(join(this.#directory, "dnsmasq.conf")) ? pid : null;
  }

  async #start(file: string): Promise<void> {
    await rm(join(this.#directory, "pid"), { force: true });
    const child = spawn("dnsmasq", ["--keep-in-foreground", `--conf-file=${file}`], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.setEncoding("utf8").on("data", (part: string) => (said = (said + part).slice(-500)));
    await new Promise<void>((resolve, reject) => {
      child.once("spawn", resolve);
      child.once("error", (error) => reject(wrap("starting dnsmasq", error)));
    });
    this.#pid = child.pid ?? null;
    child.unref();
    const began = performance.now();
    child.once("exit", (code, by) => {
      if (this.#pid !== child.pid) return;
      this.#pid = null;
      if (this.#closed) return;
      this.#log.warn({ subnet: this.#subnet?.id, code, by, said }, "dnsmasq ended");
      // One that cannot run is tried again with the next check of the network, not at once and for ever.
      if (performance.now() - began > shortestLifeMs) this.#onEnd();
    });
  }

  async #end(pid: number): Promise<void> {
    this.#pid = null;
    signal(pid, "SIGTERM");
    for (let tries = 0; tries < 50; tries++) {
      if ((await this.#findProcess()) === null) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    signal(pid, "SIGKILL");
  }
}

function signal(pid: number, name: "SIGHUP" | "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw new Error(formatError(error), { cause: error });
  }
}

async function readText(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ESRCH") return undefined;
    throw wrap(`reading ${file}`, error);
  }
}
