/**
 * Thousands of mixed calls, deadlines, aborts, consoles and subscriptions from many users at once, while libvirtd is killed and
 * stopped again and again. At the end every call must have settled in one of the promised ways, nothing may be left over, the guest
 * must be the same process, and an event must still arrive.
 */
import { randomUUID } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { afterAll, beforeAll, expect, test } from "vitest";
import { Failure, formatError } from "../../src/lib/errors.ts";
import { createLog } from "../../src/lib/log.ts";
import type { DomainRef, Libvirt } from "../../src/libvirt/contract.ts";
import { openLibvirt } from "../../src/libvirt/open.ts";
import { until } from "../until.ts";
import { echoDomainXml, writeEchoDisk } from "./support/echo-guest.ts";
import { PrivateLibvirtd } from "./support/private-libvirtd.ts";

const wantedCalls = Number(process.env["VSTATION_MONKEY_CALLS"] ?? 10_000);
const users = 24;
/** For libvirtd, which dies all the time, to be there again on a machine that is busy with all of this. */
const patienceMs = 300_000;

let daemon: PrivateLibvirtd;
let disk: string;

beforeAll(async () => {
  daemon = await PrivateLibvirtd.start();
  disk = join(daemon.dir, "echo.img");
  writeEchoDisk(disk);
});

afterAll(async () => {
  await daemon?.stop();
});

/** A small generator with a seed that the failure message names, so that a run can be looked at again. */
function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

type Deed = (libvirt: Libvirt, guest: DomainRef, other: DomainRef) => Promise<unknown>;

const deeds: readonly Deed[] = [
  (libvirt) => libvirt.version(),
  (libvirt) => libvirt.hostname(),
  (libvirt) => libvirt.nodeInfo(),
  (libvirt) => libvirt.domainList(),
  (libvirt, guest) => libvirt.domainState(guest),
  (libvirt, guest) => libvirt.domainXml(guest),
  (libvirt, guest) => libvirt.domainLookupByUuid(guest.uuid),
  (libvirt, guest) => libvirt.domainStats({ domains: [guest], groups: ["state"] }),
  (libvirt, guest) => libvirt.qmp(guest, "query-status"),
  (libvirt, guest) => libvirt.qmp(guest, "no-such-command"),
  (libvirt, guest) =>
    libvirt.domainMetadataSet(guest, { uri: "urn:vstation:monkey", prefix: "vs", xml: "<banana/>" }, "live"),
  (libvirt, guest) => libvirt.domainMetadataGet(guest, "urn:vstation:monkey", "live"),
  (libvirt, _guest, other) => libvirt.domainDefine(echoDomainXml(other.name, other.uuid, disk)),
  (libvirt, _guest, other) => libvirt.domainUndefine(other),
  (libvirt, _guest, other) => libvirt.domainState(other),
  (libvirt, guest) => libvirt.domainXml(guest, { deadlineMs: 1 }),
  (libvirt, guest) => libvirt.domainXml(guest, { signal: AbortSignal.timeout(1) }),
  async (libvirt) => {
    const subscription = libvirt.on("tunable", () => {});
    await Promise.race([subscription.active, delay(50)]);
    await subscription.close();
  },
  async (libvirt, guest) => {
    const console = await libvirt.consoleOpen(guest, { force: true });
    await console.write("ook").catch(() => undefined);
    await console.close();
  },
];

/** Everything a call may end in besides an answer. */
function isPromised(error: unknown): boolean {
  if (error instanceof Failure) return true;
  return error instanceof Error && (error.name === "AbortError" || error.name === "TimeoutError");
}

function openFiles(): number {
  return readdirSync("/proc/self/fd").length;
}

test(
  `${wantedCalls} mixed calls while libvirtd dies again and again`,
  { timeout: 60_000 + wantedCalls * 60 },
  async () => {
    const seed = Number(process.env["VSTATION_MONKEY_SEED"] ?? Date.now() % 1_000_000);
    const rnd = random(seed);
    const filesBefore = openFiles();
    const libvirt = openLibvirt({
      socketPath: daemon.socketPath,
      log: createLog("monkey"),
      keepalive: { intervalMs: 200, count: 3 },
    });
    const changes: string[] = [];
    let resyncs = 0;
    libvirt.onLifecycle(({ domain, change }) => void changes.push(`${domain.name} ${change}`));
    libvirt.onResync(() => void resyncs++);
    await libvirt.ready();
    const defined = await libvirt.domainDefine(echoDomainXml("guest", randomUUID(), disk));
    const guest = await libvirt.domainCreate(defined);
    const qemu = await daemon.qemuPid("guest");

    const outcomes = new Map<string, number>();
    let issued = 0;
    let settled = 0;
    const user = async (number: number): Promise<void> => {
      const other: DomainRef = { name: `other-${number}`, uuid: randomUUID(), id: -1 };
      while (issued < wantedCalls) {
        // Away is away: without a pause the calls would be used up on refusals.
        if (libvirt.link !== "connected") await libvirt.ready({ deadlineMs: patienceMs });
        issued++;
        const deed = deeds[Math.floor(rnd() * deeds.length)];
        let outcome = "answered";
        try {
          await deed?.(libvirt, guest, other);
        } catch (error) {
          if (!isPromised(error)) throw new Error(`seed ${seed}: ${formatError(error)}`, { cause: error });
          outcome = error instanceof Failure ? `${error.kind} ${error.code}` : (error as Error).name;
        }
        settled++;
        outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
      }
    };

    let kills = 0;
    const done = new AbortController();
    const killer = async (): Promise<void> => {
      while (!done.signal.aborted) {
        await delay(200 + rnd() * 800);
        // Under consoles that break off, libvirtd 11.3 sometimes dies by itself (docs/decisions/0007-consoles-beside-libvirt.md).
        if (!daemon.isUp) await daemon.startDaemon();
        else if (rnd() < 0.2) {
          daemon.signal("SIGSTOP");
          await delay(rnd() * 1_000);
          daemon.signal("SIGCONT");
        } else {
          await daemon.killDaemon();
          await daemon.startDaemon();
          kills++;
        }
      }
    };
    const killing = killer();
    await Promise.all(Array.from({ length: users }, (_, number) => user(number)));
    done.abort();
    await killing;

    // And sometimes it hangs for ever: what is looked at below is the client, with a daemon that is well.
    await daemon.killDaemon();
    await daemon.startDaemon();
    await libvirt.ready({ deadlineMs: patienceMs });
    await until("late replies to come in", () => libvirt.outstanding.abandoned === 0);
    await until("streams to be gone", () => libvirt.outstanding.streams === 0);
    expect(settled).toBe(issued);
    expect(libvirt.outstanding).toEqual({ waiting: 0, abandoned: 0, streams: 0, topics: 1 });
    expect(libvirt.counters).toMatchObject({ strayReplies: 0, malformed: 0, listenerFailures: 0 });
    expect(outcomes.get("answered")).toBeGreaterThan(0);
    expect([...outcomes.keys()].filter((key) => /Protocol|Arguments|Clogged/.test(key))).toEqual([]);
    expect(kills).toBeGreaterThan(0);
    await until("a resync for every connect", () => resyncs === libvirt.counters.connects);
    // The guest never noticed, and what is subscribed still arrives.
    expect(await daemon.qemuPid("guest")).toBe(qemu);
    changes.length = 0;
    // With such a keepalive a daemon that gets no processor for a moment is lost, with the call or the event.
    await until("an event at the end", async () => {
      await libvirt.domainSuspend(guest);
      await libvirt.domainResume(guest);
      return changes.includes("guest suspended");
    });
    await until("the guest's end", async () => {
      await libvirt.domainDestroy(guest).catch(() => undefined);
      return (await libvirt.domainState(guest)).state === "shutoff";
    });
    process.stderr.write(`monkey: seed ${seed}, ${kills} kills, ${JSON.stringify(Object.fromEntries(outcomes))}\n`);
    process.stderr.write(`monkey: ${JSON.stringify(libvirt.counters)}\n`);
    await libvirt.close();
    await until(`open files to be ${filesBefore} again`, () => openFiles() <= filesBefore);
  },
);
