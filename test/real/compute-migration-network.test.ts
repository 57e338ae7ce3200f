/**
 * What the network does to a move on its way, and what is in its way: the guest runs in one place, and the move says how it ended. Real
 * hosts, each with its own firewall, link and ports.
 */
import { setTimeout as delay } from "node:timers/promises";
import { expect, test } from "vitest";
import { defaultCeilingMs } from "../../src/core/migration/policy.ts";
import { until } from "../until.ts";
import {
  addressOf,
  inTheCopy,
  type MovingBed,
  movingBedForAll,
  type MovingGuest,
  patience,
  stoppingAt,
} from "./support/moving-bed.ts";
import type { Move } from "./support/move.ts";

let bed: MovingBed;
movingBedForAll((made) => (bed = made));

const migrationPorts = "tcp dport 49152-49215";

test("a link that is cut for five seconds in the copy ends at most the move, and the next one succeeds", async () => {
  const guest = await bed.boot(bed.here);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  try {
    await inTheCopy(move);
    const cut = bed.cut();
    await delay(5_000);
    cut.mend();
    await move.untilOver();
  } finally {
    slow.end();
  }
  const ended = move.end?.as === "FAILED" ? move.end.code : move.end?.as;
  // A target that gives it up just as the link is back is heard of by QEMU's own connection first.
  expect(["MigrationLinkLost", "MigrationCopyFailed", "SUCCEEDED"]).toContain(ended);
  await bed.expectWhole(guest);
  const second = bed.move(guest, guest.at === bed.here ? bed.there : bed.here);
  await second.untilOver();
  expect(second.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectWhole(guest);
});

test.each([
  ["all that the hosts have of each other", ""],
  ["QEMU's own connection alone", migrationPorts],
])("a link that is cut for good in the copy, %s: the move ends, and the guest runs on", async (_, what) => {
  const guest = await bed.boot(bed.here);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  await inTheCopy(move);
  const cut = bed.cut(what);
  const at = performance.now();
  try {
    await move.until("the move to have failed", () => move.end !== null);
    process.stdout.write(`cut for good: ended after ${Math.round(performance.now() - at)} ms\n`);
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationLinkLost" });
    await move.untilOver();
    await bed.expectWhole(guest);
    await bed.expectNotAt(bed.there, guest);
  } finally {
    cut.mend();
    slow.end();
  }
});

test.each([
  ["the word to run", "here", "migration.source.performed", "dropped"],
  ["the answer to it", "there", "migration.target.finished", "arrived"],
] as const)(
  "a link that is cut at the hand-over, %s is lost: the source keeps the guest paused until it hears what became of it",
  async (_, at, point, fate) => {
    const guest = await bed.boot(bed.here);
    const stopped = await stoppingAt(bed[at], point);
    const move = bed.move(guest, bed.there);
    await move.until("the hand-over", () => stopped.isThere() || move.end !== null);
    const cut = bed.cut();
    const { id } = guest.wanted;
    try {
      await stopped.goOn();
      // Looked at and not driven: VStation carries no word meanwhile.
      await until("the target to have decided", () => move.target?.is === fate, patience);
      await until("the target to have let it run, or not", () => {
        const runs = bed.there.host.qemuPid(id) !== undefined;
        return runs === (fate === "arrived");
      });
      // It tells of it a little later than it does it.
      await until("the source to have handed it over", () => move.source?.is === "handing");
      const isPaused = () => bed.here.host.sh(`virsh -q domstate ${id}`).trim() === "paused";
      // Longer than anybody at the source waits for an answer before it asks anew.
      for (let looks = 0; looks < 8; looks++) {
        expect([isPaused(), move.source?.is]).toEqual([true, "handing"]);
        await delay(1_000);
      }
    } finally {
      cut.mend();
    }
    await move.untilOver();
    expect(move.end?.as).toBe(fate === "arrived" ? "SUCCEEDED" : "FAILED");
    await bed.expectWhole(guest);
    await bed.expectNotAt(fate === "arrived" ? bed.here : bed.there, guest);
  },
);

test("a link that keeps a tenth of its speed in the middle of the copy makes the move longer, and nothing is done to the guest", async () => {
  const guest = await bed.boot(bed.here);
  // Without it all of its memory would be over in two seconds.
  await (await bed.shellOf(guest)).run("probe fill 64");
  const link = bed.slowly("240mbit");
  const move = bed.move(guest, bed.there, { policy: "throttle", ceilingMs: defaultCeilingMs });
  move.holdOver = true;
  try {
    await inTheCopy(move);
    bed.slowly("24mbit");
    await move.until("the move to have ended", () => move.end !== null && move.story.length > 0);
    expect(move.end).toEqual({ as: "SUCCEEDED" });
    expect(move.story.filter(({ is }) => is === "lever")).toEqual([]);
    await move.untilOver();
  } finally {
    link.end();
  }
  await bed.expectWhole(guest);
});

test("a link that loses one packet in a hundred makes the move longer, and no more", async () => {
  const guest = await bed.boot(bed.here);
  const lossy = bed.cut("numgen random mod 100 == 0 counter");
  const move = bed.move(guest, bed.there);
  try {
    await move.untilOver();
    const lost = bed.there.host.sh("nft list table inet cut");
    expect(Number(/packets (\d+)/.exec(lost)?.[1])).toBeGreaterThan(0);
  } finally {
    lossy.mend();
  }
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectWhole(guest);
});

test("ports that other programs have are passed over", async () => {
  const guest = await bed.boot(bed.here);
  const others = [49_152, 49_153, 49_154].map((port) =>
    bed.there.host.spawn(["setpriv", "--pdeathsig", "KILL", "busybox", "nc", "-l", "-p", String(port)]),
  );
  try {
    const taken = () => bed.there.host.sh("ss -Hltn 'sport >= :49152 and sport <= :49154' | wc -l").trim();
    await until("the ports to be taken", () => taken() === "3");
    const move = bed.move(guest, bed.there);
    await move.untilOver();
    expect(move.end).toEqual({ as: "SUCCEEDED" });
  } finally {
    for (const child of others) child.kill("SIGKILL");
  }
  await bed.expectWhole(guest);
});

/**
 * No thread of its QEMU's has worked for a while, or waits for its turn to: of a guest that is asked all the time, that it is paused.
 * A machine with too much to do would be silent as well.
 */
async function untilAtRest({ wanted }: MovingGuest): Promise<void> {
  const { host } = bed.here;
  // State, and time as a user and in the kernel; the name before them may be of several words.
  const threads = () => host.sh(`sed 's/^.*) //' /proc/${host.qemuPid(wanted.id)}/task/*/stat | cut -d' ' -f1,12,13`);
  await until("its QEMU to be at rest", async () => {
    const before = threads();
    await delay(500);
    return /^(S .*\n)+$/.test(before) && threads() === before;
  });
}

/** More than half of what a guest has in its memory that was filled with nothing else. */
const mostBytes = 30_000_000;

/** QEMU comes to the end of its memory by itself, and waits there for libvirt's word with the guest paused; `then` is done there. */
async function inThePause(guest: MovingGuest, then: () => Promise<void> | void): Promise<Move> {
  const asker = bed.outside.asker(addressOf(guest), 10);
  await asker.moreAnswers(20);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  move.holdOver = true;
  try {
    // libvirtd is to be away for a short time only: Compute leaves one that is silent for fifteen seconds.
    const sentBytes = () => (move.source?.is === "copying" ? (move.source.progress?.sentBytes ?? 0) : 0);
    await move.until("most of it to be sent", () => sentBytes() > mostBytes);
    await bed.here.host.signalLibvirtd("SIGSTOP");
    slow.end();
    await asker.silence(1_000);
    await untilAtRest(guest);
    await then();
  } finally {
    await bed.here.host.signalLibvirtd("SIGCONT");
  }
  // Its whole story comes with its last word.
  await move.until("the source's last word", () => move.source?.is === "left" || move.source?.is === "stayed");
  await asker.end();
  return move;
}

test("a libvirtd that is held up at the hand-over makes the pause longer by that, and the story says so", async () => {
  const guest = await bed.boot(bed.here);
  let [silentAt, goesOnAt] = [0, 0];
  const move = await inThePause(guest, async () => {
    silentAt = Date.now();
    await delay(500);
    goesOnAt = Date.now();
  });
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  const at = (step: string) => move.story.find((line) => line.is === "step" && line.step === step)?.at;
  expect(at("paused")).toBeLessThan(silentAt);
  expect(at("heard")).toBeGreaterThan(goesOnAt);
  const pauseMs = move.source?.is === "left" ? move.source.pauseMs : null;
  expect(pauseMs).toBeGreaterThan(goesOnAt - silentAt);
  await move.untilOver();
  await bed.expectWhole(guest);
});

test("a link of QEMU's that is cut in the pause ends the move, and the guest goes on", async () => {
  const guest = await bed.boot(bed.here);
  let cut = { mend: () => {} };
  const move = await inThePause(guest, () => void (cut = bed.cut(migrationPorts)));
  cut.mend();
  expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationLinkLost" });
  await move.untilOver();
  await bed.expectWhole(guest);
  await bed.expectNotAt(bed.there, guest);
});
