/**
 * One dnsmasq per VPC on this host, in the VPC's namespace: addresses (static leases of local instances only) and names (the VPC's
 * instances, on whatever host; all others forwarded) for its guests.
 *
 * It is a process of its own that outlives Compute, so that a restart of Compute is nothing a guest could notice; a new Compute
 * finds it by its pid file and takes it over if its configuration is still the wanted one. A lease is a file in `dhcp-hostsdir`:
 * dnsmasq takes a new file by inotify, at once and without a signal; a removal needs SIGHUP, and so does a change of names.
 * Leases are infinite, because a guest must not lose its address while no dnsmasq answers.
 *
 * So a process never forgets whom it gave an address, and gives it to nobody else. What is not wanted any more is therefore kept in mind
 * (`hosts/.was-ADDRESS`) until the process ends: when the address comes to another guest, that process is replaced by one that knows of
 * nothing, which takes no longer than a query is tried again.
 *
 * Nothing leaks to other hosts: it is bound to the router's gates, requests are broadcasts, and broadcasts do not cross VXLAN.
 */
import { spawn } from "node:child_process";
import { mkdir, readFile, readdir, readlink, rename, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { netmask } from "../../core/addresses.ts";
import { formatError, wrap } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { namespaceFile, tail } from "./names.ts";
import type { VpcPlan } from "./plan.ts";
import { Limit } from "../limit.ts";

const shortestLifeMs = 5_000;

export interface Lease {
  readonly mac: string;
  readonly ip: string;
}

/** What a dnsmasq serves. */
export interface Service {
  readonly vpc: VpcPlan;
  /** The number of the namespace it is to live in. */
  readonly inode: number;
  /** Servers for other names, where a subnet does not say any. */
  readonly upstream: readonly string[];
  /** Lines of a hosts file. */
  readonly names: string;
}

/** The configuration file's text. */
export function dnsmasqConfig(vpc: VpcPlan, upstream: readonly string[], directory: string): string {
  const own = [...new Set(vpc.subnets.flatMap(({ dns }) => dns))];
  return [
    ...vpc.subnets.map(({ gate }) => `interface=${gate}`),
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
    `addn-hosts=${join(directory, "names")}`,
    `local-ttl=5`,
    `domain=${vpc.domain}`,
    `local=/${vpc.domain}/`,
    ...(own.length > 0 ? own : upstream).map((server) => `server=${server}`),
    `dhcp-authoritative`,
    `leasefile-ro`,
    `no-ping`,
    ...vpc.subnets.flatMap((subnet) => {
      const tag = `tag:${tail(subnet.id)}`;
      const [network = ""] = subnet.cidr.split("/");
      const [gateway = ""] = subnet.gateway.split("/");
      return [
        `dhcp-range=set:${tail(subnet.id)},${network},static,${netmask(subnet.cidr)},infinite`,
        `dhcp-option=${tag},option:router,${gateway}`,
        `dhcp-option=${tag},option:dns-server,${gateway}`,
        `dhcp-option=${tag},option:mtu,${subnet.mtu}`,
      ];
    }),
    `dhcp-option=option:domain-search,${vpc.domain}`,
    `dhcp-hostsdir=${join(directory, "hosts")}`,
    ``,
  ].join("\n");
}

export class Dnsmasq {
  readonly #directory: string;
  readonly #log: Log;
  #service: Service | null = null;
  #pid: number | null = null;
  #leases = new Map<string, string>();
  /** Lines that the process may still go by, by their address. */
  #former = new Map<string, string>();
  /** One at a time starts and ends the process. */
  readonly #turn = new Limit(1);
  #closed = false;
  readonly #onEnd: () => void;

  /** `directory`: this VPC's own, under runDir. `onEnd`: the process ended by itself after running for a while. */
  constructor(directory: string, log: Log, onEnd: () => void) {
    this.#directory = directory;
    this.#log = log;
    this.#onEnd = onEnd;
  }

  /** Brings the process to the wanted configuration; cheap when it runs with it already. */
  async ensure(service: Service): Promise<void> {
    await mkdir(join(this.#directory, "hosts"), { recursive: true, mode: 0o755 });
    const config = dnsmasqConfig(service.vpc, service.upstream, this.#directory);
    const file = join(this.#directory, "dnsmasq.conf");
    const same = (await readText(file)) === config;
    // Names that a Compute wrote and did not live to tell of are told of now.
    const first = this.#service === null;
    if (first) await this.#readLeases();
    this.#service = service;
    const renamed = (await this.#writeNames(service.names)) || first;
    await this.#turn.run(async () => {
      this.#pid = await this.#findProcess();
      if (this.#pid !== null && same && (await livesIn(this.#pid, service.inode))) {
        if (renamed) this.#reload();
        return;
      }
      await writeFile(file, config);
      await this.#startAnew(service);
    });
  }

  async #startAnew({ vpc }: Service): Promise<void> {
    if (this.#pid !== null) await this.#end(this.#pid);
    for (const ip of this.#former.keys()) await rm(join(this.#directory, "hosts", formerName(ip)), { force: true });
    this.#former.clear();
    await this.#start(join(this.#directory, "dnsmasq.conf"), vpc.namespace);
  }

  /** True if it said something else before. */
  async #writeNames(names: string): Promise<boolean> {
    const file = join(this.#directory, "names");
    if ((await readText(file)) === names) return false;
    await writeFile(`${file}.new`, names);
    await rename(`${file}.new`, file);
    return true;
  }

  /** Hands out this address to that MAC from now on. `name` is the file's name, unique per NIC. */
  async addLease(name: string, lease: Lease): Promise<void> {
    const line = leaseLine(lease);
    const before = this.#leases.get(name);
    if (before === line) return;
    const hosts = join(this.#directory, "hosts");
    // dnsmasq skips names that begin with a dot, and sees the rename.
    await writeFile(join(hosts, `.${name}`), line);
    await rename(join(hosts, `.${name}`), join(hosts, name));
    this.#leases.set(name, line);
    const former = this.#former.get(lease.ip);
    const service = this.#service;
    if (former !== undefined && former !== line && service !== null) {
      await this.#turn.run(() => this.#startAnew(service));
    } else if (before !== undefined) this.#reload();
  }

  /** Keeps only these leases: a file of another name, or for another address, goes. */
  async keepLeases(wanted: ReadonlyMap<string, Lease>): Promise<void> {
    const unwanted = [...this.#leases].filter(([name, line]) => {
      const lease = wanted.get(name);
      return lease === undefined || leaseLine(lease) !== line;
    });
    if (unwanted.length === 0) return;
    for (const [name, line] of unwanted) {
      const hosts = join(this.#directory, "hosts");
      const ip = addressOf(line);
      await rename(join(hosts, name), join(hosts, formerName(ip)));
      this.#former.set(ip, line);
      this.#leases.delete(name);
    }
    this.#reload();
  }

  /** Ends the process and removes its folder: the VPC is not wanted here any more. */
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
      const line = (await readText(join(hosts, name))) ?? "";
      if (!name.startsWith(".")) this.#leases.set(name, line);
      else if (name === formerName(addressOf(line))) this.#former.set(addressOf(line), line);
      else await rm(join(hosts, name), { force: true });
    }
  }

  /** The pid in the pid file, if that process is our dnsmasq; a pid alone may be somebody else's by now. */
  async #findProcess(): Promise<number | null> {
    const pid = Number((await readText(join(this.#directory, "pid"))) ?? "");
    if (!Number.isInteger(pid) || pid <= 1) return null;
    const command = await readText(`/proc/${pid}/cmdline`);
    return command?.includes(join(this.#directory, "dnsmasq.conf")) ? pid : null;
  }

  async #start(file: string, namespace: string): Promise<void> {
    await rm(join(this.#directory, "pid"), { force: true });
    const command = [`--net=${namespaceFile(namespace)}`, "dnsmasq", "--keep-in-foreground", `--conf-file=${file}`];
    const child = spawn("nsenter", command, {
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
      this.#log.warn({ vpc: this.#service?.vpc.id, code, by, said }, "dnsmasq ended");
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

function leaseLine({ mac, ip }: Lease): string {
  return `${mac},${ip},infinite\n`;
}

function addressOf(line: string): string {
  return line.split(",")[1] ?? "";
}

/** dnsmasq passes over names that begin with a dot. */
function formerName(ip: string): string {
  return `.was-${ip}`;
}

function signal(pid: number, name: "SIGHUP" | "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw new Error(formatError(error), { cause: error });
  }
}

/** A process whose namespace was made anew serves nobody. */
async function livesIn(pid: number, inode: number): Promise<boolean> {
  try {
    return (await readlink(`/proc/${pid}/ns/net`)) === `net:[${inode}]`;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return false;
    throw wrap(`looking at process ${pid}`, error);
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
