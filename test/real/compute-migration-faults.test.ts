/**
 * What else may happen to a move on its way: a guest that begins to write or ends, a machine that dies, storage that hangs, is locked or
 * is lost at the target alone, clocks that differ. The guest runs in one place, and the move says how it ended.
 */
import { expect, test } from "vitest";
import { defaultCeilingMs } from "../../src/core/migration/policy.ts";
import {
  addressOf,
  back,
  inTheCopy,
  type MovingBed,
  movingBedForAll,
  type MovingGuest,
  patience,
  stoppingAt,
} from "./support/moving-bed.ts";
import type { Move } from "./support/move.ts";
import { RemoteFile } from "./support/remote-file.ts";

let bed: MovingBed;
movingBedForAll((made) => (bed = made));

const killQemuAt = ({ host }: MovingBed["there"], { wanted }: MovingGuest): void =>
  void host.sh(`kill -9 ${host.qemuPid(wanted.id)}`);

/** Why it came to nothing; the guest goes on at the source. */
async function whyStayed(guest: MovingGuest, move: Move): Promise<string | undefined> {
  await move.untilOver();
  await bed.expectWhole(guest);
  await bed.expectNotAt(bed.there, guest);
  return move.end?.as === "FAILED" ? move.end.code : undefined;
}

test("the target's QEMU dies in the copy: the guest runs on", async () => {
  const guest = await bed.boot(bed.here);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  try {
    await inTheCopy(move);
    killQemuAt(bed.there, guest);
    expect(await whyStayed(guest, move)).toBe("MigrationCopyFailed");
  } finally {
    slow.end();
  }
});

test("the target's QEMU dies in the pause: the guest goes on at the source", async () => {
  const guest = await bed.boot(bed.here);
  const stopped = await stoppingAt(bed.here, "migration.source.performed");
  const move = bed.move(guest, bed.there);
  await move.until("the hand-over", () => stopped.isThere() || move.end !== null);
  killQemuAt(bed.there, guest);
  await stopped.goOn();
  expect(await whyStayed(guest, move)).toBe("MigrationTargetRefused");
});

test.each([
  // Whether QEMU's connection or the one between the Computes is heard first is chance.
  { who: "who led the copy", anew: false, code: /^Migration(LinkLost|CopyFailed)$/ },
  { who: "one that was begun anew", anew: true, code: /^MigrationInterrupted$/ },
])("the target is lost for good in the copy: for $who the guest is its owner's again without its word", async (it) => {
  const guest = await bed.boot(bed.here);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  try {
    await inTheCopy(move);
    await bed.there.host.killCompute();
    await bed.there.host.powerCut();
    bed.there.session.hello = null;
    if (it.anew) {
      await bed.here.host.killCompute();
      bed.here.session.hello = null;
      bed.here.host.startCompute();
      await back(bed.here);
    }
    await move.until("the source to let go", () => move.source?.is === "stayed", patience);
  } finally {
    slow.end();
  }
  expect(move.end).toMatchObject({ as: "FAILED", code: expect.stringMatching(it.code) });
  expect(move.over).toBe(false);
  await bed.expectWhole(guest);
  bed.there.host.startCompute();
  await back(bed.there);
  await move.untilOver();
  await bed.expectNotAt(bed.there, guest);
});

test("the source loses its power in the copy: the guest is nowhere, and its host says why", async () => {
  const guest = await bed.boot(bed.here);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  try {
    await inTheCopy(move);
    await bed.here.host.killCompute();
    await bed.here.host.powerCut();
  } finally {
    slow.end();
  }
  bed.here.session.hello = null;
  bed.here.host.startCompute();
  await back(bed.here);
  await move.untilOver();
  expect(move.end?.as).toBe("FAILED");
  const { id } = guest.wanted;
  expect(await bed.here.session.untilPhase(id, "exited", patience)).toMatchObject({ reason: "host_restarted" });
  await bed.expectNotAt(bed.there, guest);
});

test("a guest that powers itself off in the copy has ended, and is not at the target", async () => {
  const guest = await bed.boot(bed.here);
  const shell = await bed.shellOf(guest);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  try {
    await inTheCopy(move);
    void shell.run("poweroff").catch(() => undefined);
    await move.untilOver();
  } finally {
    slow.end();
  }
  expect(move.end).toMatchObject({ as: "FAILED", code: "GuestEnded" });
  await bed.expectNotAt(bed.there, guest);
});

test("a guest that boots anew in the copy arrives with that boot", async () => {
  const guest = await bed.boot(bed.here);
  const former = guest.bootId;
  const shell = await bed.shellOf(guest);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  try {
    await inTheCopy(move);
    void shell.run("reboot").catch(() => undefined);
    await bed.booted(guest, 2);
    expect(move.end).toBe(null);
  } finally {
    slow.end();
  }
  expect(guest.bootId).not.toBe(former);
  await move.untilOver();
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectWhole(guest);
  await bed.expectNotAt(bed.here, guest);
});

test("a guest that begins to write in the copy is slowed as far as its policy goes, and moves once it is quiet", async () => {
  const guest = await bed.boot(bed.here);
  const shell = await bed.shellOf(guest);
  const link = bed.slowly("40mbit");
  const move = bed.move(guest, bed.there, { policy: "throttle", ceilingMs: defaultCeilingMs });
  move.holdOver = true;
  try {
    await inTheCopy(move);
    await shell.run("probe dirty start 16 64");
    const throttle = () => (move.source?.is === "copying" ? (move.source.progress?.throttlePercent ?? 0) : 0);
    // QEMU may rest it by one per cent before any lever is pulled; the least of those is ten.
    await move.until("it to be slowed", () => throttle() >= 10 || move.end !== null);
    await shell.run("probe dirty stop");
    await move.until("it to have moved", () => move.end !== null && move.story.length > 0);
  } finally {
    link.end();
  }
  const levers = move.story.flatMap((line) => (line.is === "lever" ? [line.lever] : []));
  expect(levers).not.toEqual([]);
  for (const lever of levers)
    expect(lever).toMatchObject({ pull: "throttle", percent: expect.toSatisfy((it: number) => it <= 90) });
  await move.untilOver();
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectWhole(guest);
});

test("a disk that somebody has locked at the target: the guest goes on at the source", async () => {
  const guest = await bed.boot(bed.here);
  const file = await RemoteFile.over(bed.there.host, bed.diskOf(guest));
  try {
    await file.lock();
    const move = bed.move(guest, bed.there);
    expect(await whyStayed(guest, move)).toBe("MigrationTargetRefused");
  } finally {
    file.end();
  }
});

test("a disk that the target loses in the copy: the guest goes on at the source", async () => {
  const guest = await bed.boot(bed.here);
  const file = await RemoteFile.over(bed.there.host, bed.diskOf(guest));
  try {
    const slow = bed.slowly();
    const move = bed.move(guest, bed.there);
    await inTheCopy(move);
    file.lose();
    slow.end();
    expect(await whyStayed(guest, move)).toBe("MigrationTargetRefused");
  } finally {
    file.end();
  }
});

test("a disk that does not answer at the hand-over makes the pause longer, and no more", async () => {
  const guest = await bed.boot(bed.here);
  const asker = bed.outside.asker(addressOf(guest), 10);
  await asker.moreAnswers(20);
  const file = await RemoteFile.over(bed.there.host, bed.diskOf(guest));
  try {
    const slow = bed.slowly();
    const move = bed.move(guest, bed.there);
    await inTheCopy(move);
    file.hang();
    slow.end();
    await asker.silence(3_000);
    file.goOn();
    await move.untilOver();
    expect(move.end).toEqual({ as: "SUCCEEDED" });
    await asker.end();
    await bed.expectWhole(guest);
  } finally {
    file.end();
  }
});

test("a target whose clock goes otherwise refuses it", async () => {
  const guest = await bed.boot(bed.here);
  const ahead = "data:text/javascript,const%20now=Date.now;Date.now=()=>now()+600000";
  const restart = async (env = {}) => {
    await bed.there.host.killCompute("SIGTERM");
    bed.there.session.hello = null;
    bed.there.host.startCompute(env);
    await back(bed.there);
  };
  await restart({ NODE_OPTIONS: `--import=${ahead}` });
  try {
    expect(await whyStayed(guest, bed.move(guest, bed.there))).toBe("MigrationClockDiffers");
  } finally {
    await restart();
  }
});
