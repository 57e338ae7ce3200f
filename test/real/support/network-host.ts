/**
 * A host for tests of Compute's network alone: namespaces with a cable to the test's underlay, in which the driver runs, and guests
 * that are namespaces on a tap's name. They are whole network stacks, start in milliseconds, and do what a guest would not.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface, type Interface } from "node:readline";
import type { InstanceSpec } from "../../../src/api/agent.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { bridgeName, tapName } from "../../../src/compute/network/names.ts";
import type { TestUnderlay } from "./compute-host.ts";
import type { NetworkOrder } from "./network-driver.ts";
import { tinyInstance } from "./wanted-documents.ts";

const root = resolve(import.meta.dirname, "../../..");
export type Nic = InstanceSpec["nics"][number];

export class NetworkHost {
  readonly address: string;
  readonly #dir: string;
  readonly #init: ChildProcess;
  readonly #pid: number;
  #driver: ChildProcess | null = null;
  #answers: Interface | null = null;

  private constructor(address: string, dir: string, init: ChildProcess, pid: number) {
    this.address = address;
    this.#dir = dir;
    this.#init = init;
    this.#pid = pid;
  }

  static async start(underlay: TestUnderlay, number: number): Promise<NetworkHost> {
    const dir = mkdtempSync(join(tmpdir(), "nh-"));
    const address = underlay.host(number);
    const script =
      "mount -t tmpfs run /run && mkdir /run/network && ip link set lo up && echo ready && exec sleep infinity";
    const unshare = [
      "--net",
      "--mount",
      "--propagation",
      "private",
      "--pid",
      "--fork",
      "--kill-child=KILL",
      "--mount-proc",
    ];
    const init = spawn("setpriv", ["--pdeathsig", "KILL", "unshare", ...unshare, "tini", "--", "sh", "-c", script], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    if (init.stdout) await once(init.stdout, "data");
    const pid = Number(readFileSync(`/proc/${init.pid}/task/${init.pid}/children`, "utf8").trim().split(" ")[0]);
    const host = new NetworkHost(address, dir, init, pid);
    const port = `${underlay.bridge}n${number}`;
    execFileSync("sh", [
      "-c",
      `ip link add ${port} mtu 1550 type veth peer name eth0 mtu 1550 netns ${pid} && ip link set ${port} master ${underlay.bridge} up`,
    ]);
    host.sh(`ip addr add ${address}/24 dev eth0; ip link set eth0 up; ip route add default via ${underlay.address}`);
    host.startCompute();
    return host;
  }

  /** Starts the driver, as a Compute that begins. */
  startCompute(env: Record<string, string> = {}): void {
    const file = join(import.meta.dirname, "network-driver.ts");
    const command = [...this.#enter(), join(root, "node_modules/.bin/node"), file, "/run/network", this.address];
    this.#driver = spawn("nsenter", command, {
      stdio: ["pipe", "pipe", "inherit"],
      env: { ...process.env, VSTATION_LOG: "error", ...env },
    });
    if (this.#driver.stdout) this.#answers = createInterface({ input: this.#driver.stdout });
  }

  /** Ends it by SIGKILL; resolves when it is gone. */
  async killCompute(): Promise<void> {
    const driver = this.#driver;
    if (driver === null || driver.exitCode !== null || driver.signalCode !== null) return;
    const gone = once(driver, "exit");
    const inner = this.sh("pgrep -f network-driver.ts || true").trim().split("\n")[0] ?? "";
    if (inner !== "") this.sh(`kill -9 ${inner} || true`);
    await gone;
  }

  /** Has the driver do it; resolves when it is done. */
  async order(order: NetworkOrder): Promise<void> {
    const answer = await this.tryOrder(order);
    if (answer !== null) throw new Error(answer);
  }

  /** The same; what went wrong, or null. A driver that dies over it is an answer. */
  async tryOrder(order: NetworkOrder): Promise<string | null> {
    const [driver, answers] = [this.#driver, this.#answers];
    if (driver === null || answers === null) throw new Error("no driver");
    const line = Promise.race([
      once(answers, "line").then(([text]) => text as string),
      once(driver, "exit").then(() => JSON.stringify({ error: "the driver ended" })),
    ]);
    driver.stdin?.write(`${JSON.stringify(order)}\n`);
    const answer = JSON.parse(await line) as { ok?: true; error?: string };
    return answer.error ?? null;
  }

  /** Runs a shell line in the host. */
  sh(line: string): string {
    return execFileSync("nsenter", [...this.#enter(), "sh", "-c", line], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "pipe"],
      timeout: 60_000,
    });
  }

  /** Plugs a guest's NIC into its subnet's bridge, as libvirt does with a tap. `name` is the guest's namespace. */
  plug(name: string, instance: InstanceId, nic: Nic): void {
    const tap = tapName(instance, 0);
    this.sh(
      `ip netns add ${name}; ip link add ${tap} type veth peer name eth0 address ${nic.mac} netns ${name};
       ip link set ${tap} master ${bridgeName(nic.subnetId)} up; ip -n ${name} link set lo up; ip -n ${name} link set eth0 up`,
    );
  }

  unplug(name: string, instance: InstanceId): void {
    this.sh(`ip link del ${tapName(instance, 0)}; ip netns del ${name}`);
  }

  /** What a shell line in a guest prints, its errors too, whatever its status. */
  async inGuest(name: string, line: string): Promise<string> {
    const args = [...this.#enter(), "ip", "netns", "exec", name, "sh", "-c", `(${line}) 2>&1 || true`];
    return new Promise((done) => void execFile("nsenter", args, { timeout: 60_000 }, (_, out) => done(out)));
  }

  /** A program that goes on running in a guest. */
  inGuestStart(name: string, line: string): ChildProcess {
    const args = [...this.#enter(), "ip", "netns", "exec", name, "sh", "-c", line];
    return spawn("nsenter", args, { stdio: ["pipe", "pipe", "ignore"] });
  }

  /** Takes address, route and name server by DHCP. */
  async lease(name: string): Promise<void> {
    const script = join(root, "test/real/support/lease.sh");
    // Asked each second for as long as a busy machine may take to answer, and no longer than inGuest waits.
    const said = await this.inGuest(name, `busybox udhcpc -i eth0 -n -q -f -t 50 -T 1 -O mtu -s ${script}`);
    if (!said.includes("bound-")) throw new Error(`no lease for ${name}: ${said}`);
  }

  async stop(): Promise<void> {
    if (this.#init.exitCode === null && this.#init.signalCode === null) {
      const gone = once(this.#init, "exit");
      process.kill(this.#pid, "SIGKILL");
      await gone;
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #enter(): string[] {
    return ["-t", String(this.#pid), "-m", "-p", "-n"];
  }
}

/** A spec of which only name and NICs matter. */
export function guestSpec(name: string, nics: Nic[]): InstanceSpec {
  return tinyInstance({ hostname: name, nics }).spec;
}
