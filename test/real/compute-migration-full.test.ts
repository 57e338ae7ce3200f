/** Storage that is full stops a guest on its way: it stays where it is, and runs on as soon as there is room. */
import { expect, test } from "vitest";
import { inTheCopy, type MovingBed, movingBedForAll, patience } from "./support/moving-bed.ts";

let bed: MovingBed;
movingBedForAll((made) => (bed = made), { sharedMiB: 96 });

test("its storage has no room for what a guest writes in the copy: it stays, and goes on by itself when there is some", async () => {
  const guest = await bed.boot(bed.here);
  const { id } = guest.wanted;
  const pid = bed.here.host.qemuPid(id);
  const shell = await bed.shellOf(guest);
  const slow = bed.slowly();
  const move = bed.move(guest, bed.there);
  let free = (): void => undefined;
  let written: Promise<string>;
  try {
    await inTheCopy(move);
    free = bed.fillShared();
    written = shell.run("dd if=/dev/urandom of=/dev/vda bs=1048576 seek=1500 count=8 conv=fsync 2>&1", patience);
    written.catch(() => undefined);
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationCopyFailed" });
    expect(await bed.here.session.untilPhase(id, "paused", patience)).toMatchObject({ reason: "out_of_space" });
    await bed.expectNotAt(bed.there, guest);
  } finally {
    slow.end();
    free();
  }
  await bed.expectWhole(guest);
  expect(await written).toContain("8+0 records out");
  expect(bed.here.host.qemuPid(id)).toBe(pid);
});
