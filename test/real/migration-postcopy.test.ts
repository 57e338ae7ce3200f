/**
 * Post-copy between two real hosts: a guest that changes its memory faster than the cable carries it goes on at the target, and what is missing
 * follows. In the time between it is in two halves, and whatever dies or is cut then, it is the same guest afterwards, with every page
 * as it was last written.
 */
import { afterAll, afterEach, beforeAll, expect, test, vi } from "vitest";
import { defaultCeilingMs } from "../../src/core/migration/policy.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import { until } from "../until.ts";
import type { GuestShell } from "./support/guest-shell.ts";
import { MainThread } from "./support/main-thread.ts";
import type { Move, Place } from "./support/move.ts";
import {
  dyingAt,
  mendAfter,
  MovingBed,
  type MovingGuest,
  patience,
  restartCompute,
  restartLibvirtd,
  stoppingAt,
} from "./support/moving-bed.ts";

const byPostcopy = { policy: "postcopy", ceilingMs: defaultCeilingMs } as const;

// One that is timed out would run on beside the next; up to five moves are begun until one is of use, and the last one is slow.
vi.setConfig({ testTimeout: 480_000 });

let bed: MovingBed;
let guest: MovingGuest;

beforeAll(async () => {
  bed = await MovingBed.begin();
  guest = await bed.boot(bed.here);
  const shell = await bed.shellOf(guest);
  // As fast as it goes: no timer of the emulated guest's decides whether it writes.
  await shell.run("probe dirty start 48 0");
}, 300_000);
afterEach(({ task }) => mendAfter(task, bed), 240_000);
afterAll(async () => {
  await bed?.removeGuests();
  await bed?.end();
}, 120_000);

const other = (): Place => (guest.at === bed.here ? bed.there : bed.here);
const fetches = (move: Move): boolean => move.target?.is === "fetching";

/** In two halves, or whole again at one of them. */
const isSwitched = ({ target, end }: Move): boolean =>
  end !== null || target?.is === "fetching" || target?.is === "arrived" || target?.is === "dropped";

/** With less than 16 MiB a source gives no way up (compute/migration/rest-of-memory.ts); a test breaks the way twice, and some flows each time. */
const enoughBytes = 24 * 2 ** 20;

/**
 * By post-copy, and so slow from there on that what the guest lacks lasts for what a test does. Too little of it may be left before anybody
 * has looked: then the guest goes on, and nothing has been shown.
 */
async function halved(tries = 5): Promise<{ move: Move; from: Place; to: Place; shaped: { end(): void } }> {
  const [from, to] = [guest.at, other()];
  const shaped = bed.slowly("100mbit");
  const move = bed.move(guest, to, byPostcopy);
  await move.until("the guest to run at the target", () => isSwitched(move), patience);
  if (fetches(move)) {
    bed.slowly("8mbit");
    if (toSend(from) > enoughBytes) return { move, from, to, shaped };
    bed.slowly("400mbit");
  }
  await move.untilOver();
  shaped.end();
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  expect(tries).toBeGreaterThan(1);
  return await halved(tries - 1);
}

/** Moves it by post-copy; `meanwhile` while it is in two halves. */
async function moved(meanwhile: (move: Move, from: Place, to: Place) => Promise<void>): Promise<Move> {
  const { move, from, to, shaped } = await halved();
  try {
    await meanwhile(move, from, to);
    bed.slowly("400mbit");
    await move.untilOver();
  } finally {
    shaped.end();
  }
  await expectWhole();
  await bed.expectNotAt(from, guest);
  return move;
}

async function expectWhole(): Promise<void> {
  await bed.expectWhole(guest);
  const shell = await bed.shellOf(guest);
  const before = await written(shell);
  expect(await shell.run("probe checksum")).toContain(`"pages":${48 * 256}`);
  // One that does not write would have the next move end before it can be by post-copy.
  await until("the guest to write", async () => (await written(shell)) > before);
}

async function written(shell: GuestShell): Promise<number> {
  const said = await shell.run("probe dirty status");
  return Number(/"writtenPages":(\d+)/.exec(said)?.[1]);
}

test("a guest that writes faster than the cable carries goes on at the target, and cannot be called off meanwhile", async () => {
  const move = await moved(async (going) => {
    await going.until("the source to know of it", () => going.source?.is === "feeding", patience);
    going.wish = "cancel";
    await going.until("the cancel to be told", () => going.end === null);
    expect(bed.qemus(guest.wanted.id).filter((pid) => pid !== undefined)).toHaveLength(2);
  });
  const pauseMs = move.source?.is === "left" ? move.source.pauseMs : null;
  process.stdout.write(`paused for ${pauseMs?.toFixed(0)} ms by post-copy\n`);
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  expect(pauseMs).not.toBeNull();
});

test("a way between the two that is cut meanwhile, twice, only takes longer", async () => {
  const { end } = await moved(async (move, from, to) => {
    for (const _ of [1, 2]) {
      from.host.sh(`ip route add blackhole ${to.host.address}`);
      const broken = (): boolean => move.source?.is === "feeding" && move.source.broken;
      await move.until("the source to see that nothing flows", broken, patience);
      expect(move.end).toBeNull();
      from.host.sh(`ip route del blackhole ${to.host.address}`);
      await move.until("it to flow again", () => !broken(), patience);
    }
  });
  expect(end).toEqual({ as: "SUCCEEDED" });
});

/** What the source's QEMU has still to send; what is in the cable's and the two systems' buffers is not in it. NaN: that QEMU is gone. */
function toSend({ host }: Place): number {
  const told = host.sh(`virsh qemu-monitor-command ${guest.wanted.id} '{"execute":"query-migrate"}' || true`);
  return Number(/"remaining":(\d+)/.exec(told)?.[1]);
}

/** What the source's system has of the guest and the target's has not: of the fullest connection between the two. */
function onItsWay(from: Place, to: Place): number {
  const told = from.host.sh(`ss -Htn state established dst ${to.host.address}`);
  return Math.max(0, ...told.split("\n").map((line) => Number(line.trim().split(/\s+/u)[1] ?? 0)));
}

/** QEMU has nothing left to send, and the system has: on a cable so slow that what is buffered takes it some sixteen seconds. */
async function untilOnItsWay(from: Place, to: Place): Promise<void> {
  bed.slowly("16mbit");
  await until("QEMU to have little left", () => toSend(from) < 4_000_000, patience);
  bed.slowly("1mbit");
  await until("QEMU to have nothing left", () => toSend(from) === 0, patience);
  // It may be about to write yet, and is let once a third of what the system takes has gone.
  const most = onItsWay(from, to);
  await until("QEMU to have sent the last of it", () => onItsWay(from, to) < most / 2, patience);
}

test("a way that is cut with the last of it only takes longer, and the source's QEMU lets nothing run again", async () => {
  const { end } = await moved(async (move, from, to) => {
    await untilOnItsWay(from, to);
    from.host.sh(`ip route add blackhole ${to.host.address}`);
    // Longer than the two Computes wait for each other, and a way that stands still is left.
    await sleep(15_000);
    expect(from.host.sh(`virsh domstate ${guest.wanted.id}`).trim()).toBe("paused");
    expect(move.end).toBeNull();
    from.host.sh(`ip route del blackhole ${to.host.address}`);
  });
  expect(end).toEqual({ as: "SUCCEEDED" });
});

test("the way is mended also while QEMU's main thread at the target waits for memory that is missing", async () => {
  const { end } = await moved(async (move, from, to) => {
    from.host.sh(`ip route add blackhole ${to.host.address}`);
    const broken = (): boolean => move.source?.is === "feeding" && move.source.broken;
    await move.until("the source to see that nothing flows", broken, patience);
    const held = await MainThread.hold(to, guest.wanted.id);
    from.host.sh(`ip route del blackhole ${to.host.address}`);
    await move.until("it to flow again", () => !broken(), patience);
    expect(held.isFree).toBe(false);
    await held.release();
  });
  expect(end).toEqual({ as: "SUCCEEDED" });
});

test.each([
  ["Computes", restartCompute],
  ["libvirtds", restartLibvirtd],
] as const)("both %s die meanwhile: the guest becomes whole", async (_, restart) => {
  const { end } = await moved(async (__, from, to) => void (await Promise.all([restart(from), restart(to)])));
  expect(end).toEqual({ as: "SUCCEEDED" });
});

/** At the switch, of the source and of the target. */
const points: readonly (readonly [source: string | null, target: string | null])[] = [
  [null, "migration.postcopy.committed-written"],
  [null, "migration.postcopy.finish-begun"],
  ["migration.postcopy.source-committed", null],
  ["migration.postcopy.switched", "migration.postcopy.fetching-written"],
  ["migration.postcopy.feeding", null],
];

test.each(points)("the Computes die at %s and %s: the guest goes on in one place", async (atSource, atTarget) => {
  const [from, to] = [guest.at, other()];
  const go = async () => {
    const shaped = bed.slowly("100mbit");
    const move = bed.move(guest, to, byPostcopy);
    try {
      await move.untilOver();
      return [move.end, ...move.story.slice(-3)];
    } finally {
      shaped.end();
    }
  };
  const goDyingThere = atTarget === null ? go : () => dyingAt(to, atTarget, go);
  await (atSource === null ? goDyingThere() : dyingAt(from, atSource, goDyingThere));
  await expectWhole();
  expect(guest.at).toSatisfy((at) => at === from || at === to);
});

/** The source's TCP, until its end: what it buffers, and how often it tries before it gives a way up. */
function withTcp({ host }: Place, wanted: { wmem?: string; retries2?: string }): { end(): void } {
  const set = ([name, value]: [string, string]): [string, string] => {
    const file = `/proc/sys/net/ipv4/tcp_${name}`;
    const before = host.sh(`cat ${file}`).trim();
    host.sh(`echo '${value}' > ${file}`);
    return [name, before];
  };
  const before = Object.entries(wanted).map(set);
  return { end: () => before.forEach(set) };
}

const killTarget = ({ host }: Place, id: InstanceId): void => void host.sh(`kill -9 ${host.qemuPid(id)}`);

/** Until the source's TCP has given up; its QEMU is told so, and the target's is not. */
async function cutForLong(to: Place, id: InstanceId, from: Place): Promise<void> {
  from.host.sh(`ip route add blackhole ${to.host.address}`);
  try {
    const query = `timeout 5 virsh qemu-monitor-command ${id} '{"execute":"query-migrate"}' 2>&1 || true`;
    await until("QEMU to name the error", () => from.host.sh(query).includes("error-desc"), patience);
  } finally {
    from.host.sh(`ip route del blackhole ${to.host.address}`);
  }
}

// In small buffers QEMU cannot leave what it has to send, and is told in the switch itself that it does not go over.
const small = { wmem: "4096 16384 16384" };
test.each([
  ["a target's QEMU that dies, the machine on its way,", {}, "1mbit", killTarget],
  ["a target's QEMU that dies, the machine still being sent,", small, "256kbit", killTarget],
  ["a way that ends, the machine still being sent,", { ...small, retries2: "3" }, "256kbit", cutForLong],
] as const)("%s ends the guest, and holds nobody up", async (_, tcp, rate, happens) => {
  const own = await bed.boot(bed.here);
  const shell = await bed.shellOf(own);
  await shell.run("probe dirty start 48 0");
  const [from, to] = [bed.here, bed.there];
  const held = await stoppingAt(from, "migration.postcopy.source-committed");
  const changed = withTcp(from, tcp);
  const shaped = bed.slowly("100mbit");
  const move = bed.move(own, to, byPostcopy);
  try {
    await move.until("the switch to be the next thing that is done", () => held.isThere(), patience);
    // What the switch sends comes behind what is in the buffers.
    bed.slowly(rate);
    await held.goOn();
    const state = (): string => from.host.sh(`virsh domstate ${own.wanted.id}`).trim();
    await move.until("the guest to be paused", () => state() === "paused", patience);
    await sleep(300);
    await happens(to, own.wanted.id, from);
    await move.untilOver();
  } finally {
    shaped.end();
    changed.end();
  }
  expect(move.end).toMatchObject({ as: "FAILED", code: "GuestEnded" });
  await bed.expectNotAt(to, own);
});

// The last one: what did not arrive is lost, and the guest with it.
test("a guest that QEMU lets go on at the source after the switch is ended there at once", async () => {
  const { move, from, to, shaped } = await halved();
  try {
    await untilOnItsWay(from, to);
    from.host.sh(`ip route add blackhole ${to.host.address}`);
    // To QEMU it is as when TCP gives the way up.
    from.host.sh(`virsh qemu-monitor-command ${guest.wanted.id} '{"execute":"migrate-pause"}'`);
    const state = (): string => from.host.sh(`virsh domstate ${guest.wanted.id} 2>&1 || true`).trim();
    await until("it to be ended", () => !["paused", "running"].includes(state()));
    from.host.sh(`ip route del blackhole ${to.host.address}`);
    bed.slowly("400mbit");
    await move.untilOver();
  } finally {
    shaped.end();
  }
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectNotAt(from, guest);
});
