/**
 * What tests of a running guest's move stand on: two real hosts (two Computes, two libvirtd) with one shared folder on one underlay, a
 * machine outside, guests that boot there, and VStation's part in the test's hand (move.ts).
 */
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, type RunnerTestCase } from "vitest";
import { noLimits } from "../../../src/api/agent-storage.ts";
import type { Peer, WantedInstance } from "../../../src/api/agent.ts";
import { sharedMark } from "../../../src/compute/storage/disk-files.ts";
import { newId, type InstanceId } from "../../../src/lib/ids.ts";
import { UndoStack } from "../../../src/lib/undo.ts";
import { until } from "../../until.ts";
import { ComputeBed } from "./compute-bed.ts";
import type { TestUnderlay } from "./compute-host.ts";
import type { FakeVstation } from "./fake-vstation.ts";
import { GuestShell } from "./guest-shell.ts";
import { Move, type Place } from "./move.ts";
import { fill, mountSmallDisk } from "./small-disk.ts";
import { Outside } from "./outside.ts";
import { testGroup, testSubnet, tinyInstance } from "./wanted-documents.ts";

export const patience = 120_000;

export interface MovingGuest {
  wanted: Omit<WantedInstance, "generation">;
  at: Place;
  bootId: string;
}

/** Of each guest's memory, every page with its own pattern. */
const filledMiB = 8;

export class MovingBed {
  readonly here: Place;
  readonly there: Place;
  readonly outside: Outside;
  readonly underlay: TestUnderlay;
  readonly vstation: FakeVstation;
  readonly #shared: string;
  readonly #undo: UndoStack;
  readonly #guests: MovingGuest[] = [];
  readonly #moves: Move[] = [];
  #shells = 0;

  private constructor(
    { here, there, outside, shared }: Pick<MovingBed, "here" | "there" | "outside"> & { shared: string },
    bed: ComputeBed,
    undo: UndoStack,
  ) {
    this.#shared = shared;
    this.underlay = bed.underlay;
    this.vstation = bed.vstation;
    this.here = here;
    this.there = there;
    this.outside = outside;
    this.#undo = undo;
  }

  /** `sharedMiB`: the shared folder is no larger than that. */
  static async begin({ sharedMiB }: { sharedMiB?: number } = {}): Promise<MovingBed> {
    const undo = new UndoStack();
    try {
      const shared = mkdtempSync(join(tmpdir(), "vstation-shared-"));
      undo.push("shared", () => rmSync(shared, { recursive: true }));
      if (sharedMiB !== undefined) mountSmallDisk(shared, sharedMiB, undo);
      writeFileSync(join(shared, sharedMark), "");
      const bed = await ComputeBed.begin();
      undo.push("bed", () => bed.end());
      const start = async (number: number): Promise<Place> => {
        const place = await bed.host({ number, sharedDir: shared });
        place.host.startCompute();
        return place;
      };
      const [here, there] = [await start(1), await start(2)];
      for (const { session } of [here, there]) {
        const isReady = () => session.check("libvirt") === "ok" && session.check("migration") === "ok";
        await until("libvirt to answer, and QEMU to have a certificate", isReady, patience);
      }
      const outside = new Outside(bed.underlay);
      undo.push("outside", () => outside.remove());
      return new MovingBed({ here, there, outside, shared }, bed, undo);
    } catch (error) {
      await undo.unwind(() => undefined);
      throw error;
    }
  }

  async end(): Promise<void> {
    const failures: string[] = [];
    await this.#undo.unwind((name, error) => failures.push(`${name}: ${String(error)}`));
    if (failures.length > 0) throw new Error(failures.join("; "));
  }

  get places(): readonly [Place, Place] {
    return [this.here, this.there];
  }

  /** A guest that has booted, on the shared folder. */
  async boot(at: Place, changes: Parameters<typeof tinyInstance>[0] = {}): Promise<MovingGuest> {
    const systemDisk = { id: newId("disk"), sizeGiB: 2, driver: "shared", limits: noLimits } as const;
    const wanted = tinyInstance({ systemDisk, ...changes });
    at.session.want(wanted);
    await at.session.untilPhase(wanted.id, "running", patience);
    const guest = { wanted, at, bootId: "" };
    await this.booted(guest, 1);
    this.#guests.push(guest);
    this.tellPeers();
    this.outside.knows(this.peers());
    return guest;
  }

  /** Waits until it has, for this time, where its first one began; from now on it is told by this boot. */
  async booted(guest: MovingGuest, times: number): Promise<void> {
    const { at, wanted } = guest;
    const log = `${at.host.stateDir}/instances/${wanted.id}/console-1.log`;
    const boots = (): number => readFileSync(log, "latin1").split("tiny: ready").length - 1;
    await until("the guest to have booted", () => boots() >= times, patience);
    const shell = await this.shellOf(guest);
    guest.bootId = await bootIdIn(shell);
    await shell.run(`probe dirty start ${filledMiB} 1 && probe dirty stop`);
  }

  /** After a test that failed: one failure is one, and not that of all that come after it. */
  async mend(): Promise<void> {
    for (const { host } of this.places) await host.mend();
    for (const move of this.#moves.splice(0).filter(({ over }) => !over)) {
      move.wish = "cancel";
      await move.untilOver();
    }
  }

  async removeGuests(): Promise<void> {
    for (const { wanted, at } of this.#guests.splice(0)) {
      at.session.want({ ...wanted, power: { state: "gone" } });
      await at.session.untilPhase(wanted.id, "gone", patience);
      at.session.forget(wanted.id);
    }
  }

  /** Takes all room of the shared folder; returns how to give it back. */
  fillShared(): () => void {
    return fill(this.#shared);
  }

  /** Its system disk, where both hosts have it. */
  diskOf({ wanted }: MovingGuest): string {
    return join(this.#shared, "disks", `${wanted.spec.systemDisk.id}.qcow2`);
  }

  /** What the hosts' programs have said of the guests that stand now: why a test failed is in it, or nowhere. */
  said(): string {
    return this.places
      .flatMap(({ host }) => {
        const parts = [
          `== ${host.name}, Compute's warnings`,
          ...host.computeLog().split("\n").filter(isWarning).slice(-20),
        ];
        const logs = ["libvirtd", ...this.#guests.map(({ wanted: { id } }) => `qemu/${id}`)];
        const tails = logs.map((log) => `echo '== ${host.name}, ${log}'; tail -n 20 /var/log/libvirt/${log}.log`);
        try {
          parts.push(host.sh(`(${tails.join("; ")}) 2>&1 || true`));
        } catch (error) {
          parts.push(`== ${host.name} tells nothing: ${String(error)}`);
        }
        return parts;
      })
      .join("\n");
  }

  shellOf({ wanted, at }: MovingGuest): Promise<GuestShell> {
    return GuestShell.open(at.session, wanted.id, `shell-${++this.#shells}`);
  }

  peers(): Peer[] {
    const members = this.#guests.flatMap(({ wanted, at }) =>
      wanted.spec.nics.map(({ ip, mac }) => ({
        ...{ subnetId: testSubnet.id, ip, mac, vtep: at.host.address },
        ...{ name: wanted.spec.hostname, groupIds: [testGroup.id] },
      })),
    );
    return [this.outside.peer, ...members];
  }

  tellPeers(): void {
    for (const { session } of this.places) session.setPeers(this.peers());
  }

  move(guest: MovingGuest, to: Place, how?: Move["how"]): Move {
    const moved = (): void => {
      guest.at = to;
      guest.wanted = { ...guest.wanted, epoch: guest.wanted.epoch + 1 };
      this.tellPeers();
    };
    const move = new Move(guest.wanted, guest.at, to, moved, how);
    this.#moves.push(move);
    return move;
  }

  qemus(id: InstanceId): (number | undefined)[] {
    return this.places.map(({ host }) => host.qemuPid(id));
  }

  /** It runs in one place, the one that VStation knows, is the same as ever with its memory whole, and answers there. */
  async expectWhole(guest: MovingGuest): Promise<void> {
    const { id } = guest.wanted;
    await guest.at.session.untilPhase(id, "running", patience).catch((error: unknown) => {
      throw new Error(`${id} does not run; its QEMUs and its console have last said:\n${this.#lastWords(guest)}`, {
        cause: error,
      });
    });
    const seen = guest.at.session.seen.get(id);
    assert.equal(seen?.epoch, guest.wanted.epoch);
    assert.ok(seen.phase.is === "running" && seen.phase.incarnation === 1);
    const runs = this.qemus(id).map((pid) => pid !== undefined);
    assert.deepEqual(
      runs,
      this.places.map((place) => place === guest.at),
    );
    const shell = await this.shellOf(guest);
    assert.equal(await bootIdIn(shell), guest.bootId);
    assert.match(await shell.run("probe checksum"), /"ok":true,"pages":[1-9]/);
    this.outside.knows(this.peers());
    assert.equal(await this.outside.pings(addressOf(guest), 5), 5);
  }

  #lastWords({ wanted: { id } }: MovingGuest): string {
    const said = this.places.map(({ host }) => {
      const files = [`/var/log/libvirt/qemu/${id}.log`, `${host.stateDir}/instances/${id}/console-1.log`];
      return host.sh(`tail -v -n 8 ${files.join(" ")} 2>&1 || true`);
    });
    return said.join("\n");
  }

  /** Nothing is left of it at this host, by the system's own tools. */
  async expectNotAt({ host, session }: Place, { wanted }: MovingGuest): Promise<void> {
    const { id } = wanted;
    const [nic] = wanted.spec.nics;
    const left = [
      `ls -d ${host.stateDir}/instances/${id} ${host.stateDir}/wanted/instances/${id}.json`,
      `ls /run/vstation/consoles/${id}.sock /etc/libvirt/qemu/${id}.xml /run/libvirt/qemu/${id}.*`,
      `grep -l ${nic?.ip} /run/vstation/network/*/hosts/*`,
      `ip -o link | grep t0-${id.slice(4)}`,
      `bridge -d link show dev vx-test0001 | grep 'hairpin on'`,
      `nft list table bridge vstation | grep ${nic?.mac}`,
      `pgrep -f 'guest[=]${id},'`,
    ].join("; ");
    const found = () => host.sh(`(${left}) 2>/dev/null || true`).trim();
    await until("nothing to be left at the former host", () => found() === "", 60_000).catch((error: unknown) => {
      throw new Error(found(), { cause: error });
    });
    session.sendWhole();
    await until("the former host to speak of it no more", () => !session.seen.has(id), 60_000);
  }

  /** The two hosts do not hear each other any more; everybody else hears them. `what`: only this of what they send, in nftables' words. */
  cut(what = ""): { mend(): void } {
    const chain = "{ type filter hook input priority -400 ; policy accept ; }";
    for (const { host } of this.places) {
      const others = this.places.filter((place) => place.host !== host).map((place) => place.host.address);
      const rule = `add rule inet cut in ip saddr { ${others.join(", ")} } ${what} drop`;
      host.sh(`nft 'add table inet cut; add chain inet cut in ${chain}; ${rule}'`);
    }
    return { mend: () => this.places.forEach(({ host }) => host.sh("nft delete table inet cut")) };
  }

  /** The copy takes long enough for something to happen in it. */
  slowly(rate = "24mbit"): { end(): void } {
    for (const { host } of this.places) {
      host.sh(`tc qdisc replace dev eth0 root tbf rate ${rate} burst 32k latency 100ms`);
    }
    return { end: () => this.places.forEach(({ host }) => host.sh("tc qdisc del dev eth0 root || true")) };
  }
}

const isWarning = (line: string): boolean => /"level":(40|50|60)/.test(line);

export const addressOf = ({ wanted }: MovingGuest): string => wanted.spec.nics[0]?.ip ?? "";

export const inTheCopy = (move: Move): Promise<void> =>
  move.until(
    "the copy to be under way",
    () => move.source?.is === "copying" && (move.source.progress?.sentBytes ?? 0) > 0,
  );

export const back = async ({ session }: Place): Promise<void> => {
  await until("hello", () => session.hello !== null, patience);
};

/** Compute of that host will stop itself at that point, once, and go on when it is told to. */
export async function stoppingAt(place: Place, name: string): Promise<{ isThere(): boolean; goOn(): Promise<void> }> {
  const { host, session } = place;
  const marker = join(host.dir, `stopped-${name}`);
  await host.killCompute("SIGTERM");
  rmSync(marker, { force: true });
  session.hello = null;
  host.startCompute({ VSTATION_CRASH_AT: name, VSTATION_CRASH_ONCE: marker, VSTATION_CRASH_BY: "SIGSTOP" });
  await back(place);
  // The marker comes first: told to go on before it has stopped, it would stop for good.
  return { isThere: () => existsSync(marker) && host.isComputeStopped, goOn: () => host.continueCompute() };
}

/** Compute of that host is kept running, and dies once at that point while `work` is done. */
export async function dyingAt<T>(place: Place, name: string, work: () => Promise<T>): Promise<T> {
  const { host, session } = place;
  const marker = join(host.dir, `died-${name}`);
  await host.killCompute("SIGTERM");
  rmSync(marker, { force: true });
  session.hello = null;
  const supervised = host.superviseCompute({ VSTATION_CRASH_AT: name, VSTATION_CRASH_ONCE: marker });
  let result: T;
  try {
    await back(place);
    result = await work();
    await until(`${name} to be passed by what came to ${JSON.stringify(result)}`, () => existsSync(marker));
    await until("Compute to be back", () => session.socket !== null, patience);
  } finally {
    await supervised.stop();
    // Nothing of what that one has said is taken for the next one's word.
    await until("its connection to have ended", () => session.socket === null);
    session.hello = null;
    session.fulls = 0;
    host.startCompute();
    await back(place);
  }
  // It says how all of its guests are once it knows them, and opens no console before.
  await until("Compute to know its guests", () => session.fulls > 0, patience);
  return result;
}

/** Kills it, and brings it back as its supervisor would. */
export async function restartCompute(place: Place): Promise<void> {
  await place.host.killCompute();
  place.session.hello = null;
  place.host.startCompute();
  await back(place);
}

/** The same of its libvirtd. */
export async function restartLibvirtd({ host }: Place): Promise<void> {
  await host.signalLibvirtd("SIGKILL");
  await host.startLibvirtd();
}

/** Says what is known of a failure before it undoes what has led to it. */
export async function mendAfter({ name, result }: RunnerTestCase, bed: MovingBed): Promise<void> {
  if (result?.state !== "fail") return;
  process.stderr.write(`${name}\n${bed.said()}\n`);
  await bed.mend();
}

/** One bed for a file of tests, with no guest on it after each of them; `ready` hears of it before the first. */
export function movingBedForAll(ready: (bed: MovingBed) => void, how?: Parameters<typeof MovingBed.begin>[0]): void {
  let bed: MovingBed | undefined;
  beforeAll(async () => {
    bed = await MovingBed.begin(how);
    ready(bed);
  }, 240_000);
  afterAll(() => bed?.end(), 120_000);
  afterEach(async ({ task }) => {
    if (bed === undefined) return;
    await mendAfter(task, bed);
    await bed.removeGuests();
  }, 240_000);
}

async function bootIdIn(shell: GuestShell): Promise<string> {
  return (await shell.run("cat /proc/sys/kernel/random/boot_id")).trim();
}
