/**
 * The guest that virsh moves: the same machine, image, size and load as ours, on the same two hosts, on the same shared folder; libvirt's
 * definition of ours with what must differ replaced. VStation has nothing to do with it. virsh reaches both libvirts by their sockets,
 * as an expert does who has both.
 */
import { copyFileSync, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ProbeClient } from "../../guest/probe-client.ts";
import { run } from "../../lab/run.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../../test/until.ts";
import type { LabHost, LabSession } from "../lab-session.ts";
import { hostBridge, type Lan } from "./lan.ts";
import { socketOf } from "./monitors.ts";

export const rivalName = "rival";
const uuid = "5f0d1f3e-6f0a-4a5e-9a53-7269766c0001";
/** What is not over by then never will be: a guest that writes faster than the link carries. */
/** Longer than ours takes for any class. */
const moveMs = 5 * 60_000;
const bootMs = 120_000;
/** The limit that an expert asks for. */
const tunedMs = 10;

export type VirshMove = "stock" | "tuned";

export class Rival {
  readonly probe: ProbeClient;
  readonly #lab: LabSession;
  readonly #dir: string;
  #at: LabHost;

  private constructor(lab: LabSession, dir: string, at: LabHost, probe: ProbeClient) {
    this.#lab = lab;
    this.#dir = dir;
    this.#at = at;
    this.probe = probe;
  }

  /** A copy of the guest `id` on the host that it is on. */
  static async start(lab: LabSession, lan: Lan, id: InstanceId, at: LabHost): Promise<Rival> {
    const dir = join(lab.lab.home.path, "shared/rival");
    rmSync(dir, { recursive: true, force: true });
    mkdirSync(dir);
    const xml = await virsh(at, ["dumpxml", "--inactive", id]);
    const [disk, seed] = [
      one(xml, /<source file='([^']*\/disks\/[^']*)'/),
      one(xml, /<source file='([^']*seed\.img)'/),
    ];
    const base = one(xml, /<source file='([^']*\/images\/[^']*disk[^']*)'/);
    await run("qemu-img", ["create", "-q", "-f", "qcow2", "-b", base, "-F", "qcow2", join(dir, "disk.qcow2"), "10G"]);
    copyFileSync(seed, join(dir, "seed.img"));
    const changed = xml
      .replaceAll(disk, join(dir, "disk.qcow2"))
      .replaceAll(seed, join(dir, "seed.img"))
      .replaceAll(/<source mode='bind' path='[^']*'/g, "<source mode='bind' path='/run/rival-console.sock'")
      .replaceAll(/<log file='[^']*'/g, "<log file='/var/log/libvirt/qemu/rival-console.log'")
      .replace(/<name>.*<\/name>/, `<name>${rivalName}</name>`)
      .replace(/<uuid>.*<\/uuid>/, `<uuid>${uuid}</uuid>`)
      .replace(/<metadata>[^]*<\/metadata>/, "")
      .replace(/<mac address='[^']*'/, `<mac address='${lan.guest.mac}'`)
      .replace(/<source bridge='[^']*'/, `<source bridge='${hostBridge}'`)
      .replace(/<target dev='t0-[^']*'/, "<target dev='rival-tap'");
    const file = join(dir, "domain.xml");
    writeFileSync(file, changed);
    await virsh(at, ["create", file]);
    const probe = await until("virsh's guest answers", () => ProbeClient.connect(lan.guest.ip), bootMs);
    return new Rival(lab, dir, at, probe);
  }

  get at(): LabHost {
    return this.#at;
  }

  /** Whoever it is that has it now: the last move may have failed. */
  async look(): Promise<LabHost | undefined> {
    const found = this.#lab.hosts.filter((host) => host.qemus().some(({ guest }) => guest === rivalName));
    if (found.length === 1 && found[0] !== undefined) this.#at = found[0];
    return found.length === 1 ? found[0] : undefined;
  }

  /** `--unsafe`: libvirt does not know the lab's folder for one that both hosts have. */
  async move(how: VirshMove, to: LabHost): Promise<void> {
    const words = how === "stock" ? [] : ["--parallel", "--parallel-connections", "2", "--auto-converge"];
    if (how === "tuned") await virsh(this.#at, ["migrate-setmaxdowntime", rivalName, String(tunedMs)]);
    const where = [uriOf(to), "--migrateuri", `tcp://${to.plan.address}`];
    try {
      await virsh(this.#at, ["migrate", "--live", "--unsafe", ...words, rivalName, ...where], { timeoutMs: moveMs });
    } catch (error) {
      // virsh is gone, and libvirt may still be at it; where it is not there is nothing to end.
      await virsh(this.#at, ["domjobabort", rivalName]).catch(() => undefined);
      throw error;
    }
    this.#at = to;
  }

  /** The same state in a fresh QEMU of the same host: saved to memory, restored from there. */
  async renew(): Promise<void> {
    const file = join("/dev/shm", `vstation-rival-${this.#lab.lab.plan.n}`);
    try {
      await virsh(this.#at, ["save", rivalName, file], { timeoutMs: moveMs });
      await virsh(this.#at, ["restore", "--running", file], { timeoutMs: moveMs });
    } finally {
      rmSync(file, { force: true });
    }
  }

  async end(): Promise<void> {
    this.probe.close();
    for (const host of this.#lab.hosts) {
      await virsh(host, ["destroy", rivalName]).catch(() => undefined);
    }
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function uriOf(host: LabHost): string {
  return `qemu+unix:///system?socket=${socketOf(host)}`;
}

function virsh(host: LabHost, words: readonly string[], options: Parameters<typeof run>[2] = {}): Promise<string> {
  return run("virsh", ["--quiet", "--connect", uriOf(host), ...words], options);
}

function one(xml: string, pattern: RegExp): string {
  const found = pattern.exec(xml)?.[1];
  if (found === undefined) throw new Error(`libvirt's definition of the guest has no ${String(pattern)}`);
  return found;
}
