/**
 * A running guest whose disks lie on its host's own storage moves with them, while it writes: what it has written and been told is
 * written is there afterwards, on one disk in one place. Whatever dies on the way, one good disk is left, and nothing of the other.
 */
import { expect, test, vi } from "vitest";
import { noLimits } from "../../src/api/agent-storage.ts";
import { newId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import type { Move, Place } from "./support/move.ts";
import { back, dyingAt, type MovingBed, movingBedForAll, type MovingGuest, patience } from "./support/moving-bed.ts";

let bed: MovingBed;
movingBedForAll((made) => (bed = made));

/** A guest under TCG that writes without end, beside others. */
const slowMs = 240_000;
// One that is timed out would run on beside the next.
vi.setConfig({ testTimeout: 2 * slowMs });

const [here, there] = [() => bed.here, () => bed.there];

/** With a file on its system disk and bytes on its data disk that nothing else has, and a writer that never stops; or two. */
async function boot({ restless = true } = {}): Promise<MovingGuest & { sums: string }> {
  const systemDisk = { id: newId("disk"), sizeGiB: 2, driver: "local", limits: noLimits } as const;
  const dataDisk = { id: newId("disk"), sizeGiB: 1, driver: "local", limits: noLimits, slot: 0, made: false } as const;
  const guest = await bed.boot(here(), { systemDisk, dataDisks: [dataDisk] });
  const shell = await bed.shellOf(guest);
  await shell.run("head -c 3000000 /dev/urandom > /disk/file; head -c 6000000 /dev/urandom > /dev/vdc; sync");
  // A line a record, each on the disk before the next is begun.
  await shell.run(
    "(n=0; while :; do n=$((n+1)); echo $n >> /disk/records; sync; usleep 20000; done) > /dev/null 2>&1 & :",
  );
  const sums = await sumsOf(guest);
  // What is there is written there again: some write is always on its way, into the part of a mirror's books that a QEMU dies of when it
  // writes there after it has freed them.
  if (!restless) return Object.assign(guest, { sums });
  await shell.run(
    "(while :; do dd if=/dev/vdc of=/dev/vdc bs=65536 count=90 conv=notrunc,fsync; done) > /dev/null 2>&1 & :",
  );
  return Object.assign(guest, { sums });
}

/** As the disks have it, not as the guest remembers. */
async function sumsOf(guest: MovingGuest): Promise<string> {
  const shell = await bed.shellOf(guest);
  await shell.run("echo 3 > /proc/sys/vm/drop_caches");
  return shell.run("head -c 6000000 /dev/vdc | md5sum; md5sum < /disk/file", slowMs);
}

/** What it has been told is written is there, once and in order, and it goes on writing. */
async function expectKept(guest: MovingGuest & { sums: string }): Promise<void> {
  expect(await sumsOf(guest)).toBe(guest.sums);
  const shell = await bed.shellOf(guest);
  await shell.run("echo 3 > /proc/sys/vm/drop_caches");
  const unlike = `awk '$1 != NR { print NR ": " $1 }'`;
  expect(await shell.run(`head -n -1 /disk/records | ${unlike} | head -n 3`, slowMs)).toBe("");
  const count = async (): Promise<number> => Number(await shell.run("wc -l < /disk/records"));
  const before = await count();
  expect(before).toBeGreaterThan(0);
  await until("it to write on", async () => (await count()) > before, patience);
}

const filesAt = ({ host }: Place, { wanted: { id, spec } }: MovingGuest): string[] =>
  host
    .sh(
      `cd ${host.stateDir}; ls disks/${spec.dataDisks[0]?.id}.qcow2 instances/${id}/${spec.systemDisk.id}.qcow2 2>&1 || true`,
    )
    .split("\n")
    .filter((line) => line.startsWith("disks/") || line.startsWith("instances/"));

/** The disks are where the guest is, and nowhere else. */
async function expectDisks(guest: MovingGuest): Promise<void> {
  const other = guest.at === here() ? there() : here();
  expect(filesAt(guest.at, guest)).toHaveLength(2);
  await until("the other host to have none", () => filesAt(other, guest).length === 0, patience);
  await bed.expectNotAt(other, guest);
}

const inTheMirror = (move: Move): Promise<void> =>
  move.until(
    "the disks to be copied",
    () => move.source?.is === "copying" && move.source.progress?.disks !== undefined,
  );

test("its disks go with it there and back, as they are, and what it writes meanwhile is kept", async () => {
  const guest = await boot();
  for (const to of [there(), here()]) {
    const move = bed.move(guest, to);
    await move.untilOver();
    expect(move.end).toEqual({ as: "SUCCEEDED" });
    await bed.expectWhole(guest);
    await expectKept(guest);
    await expectDisks(guest);
    const { id, spec } = guest.wanted;
    const system = `${to.host.stateDir}/instances/${id}/${spec.systemDisk.id}.qcow2`;
    const info = JSON.parse(to.host.sh(`qemu-img info -U --output=json ${system}`)) as Record<string, unknown>;
    // It stands on the image as before, and holds no more than what the guest wrote.
    expect(info["full-backing-filename"]).toEqual(expect.stringContaining(spec.imageId));
    expect(Number(info["actual-size"])).toBeLessThan(200 * 2 ** 20);
    expect(to.host.sh(`ls ${to.host.stateDir}/instances/${id}`)).not.toContain("arriving.json");
  }
});

test("a target's QEMU that stands still does not hold the copy for ever", async () => {
  const guest = await boot({ restless: false });
  const slow = bed.slowly("60mbit");
  try {
    const move = bed.move(guest, there());
    const sent = (): number => (move.source?.is === "copying" ? (move.source.progress?.sentBytes ?? 0) : 0);
    await move.until("memory to be sent", () => sent() > 10_000_000, patience);
    const { host } = there();
    host.sh(`kill -STOP ${host.qemuPid(guest.wanted.id)}`);
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationLinkLost" });
  } finally {
    slow.end();
  }
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});

test("a copy that is called off in the mirror leaves its disks where it is, and nothing at the target", async () => {
  const guest = await boot();
  const slow = bed.slowly("8mbit");
  try {
    const move = bed.move(guest, there());
    await inTheMirror(move);
    move.wish = "cancel";
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationCancelled" });
  } finally {
    slow.end();
  }
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});

test("a guest whose disks fall behind while its memory is copied is not paused for them: it stays, and hears why", async () => {
  const guest = await boot({ restless: false });
  const shell = await bed.shellOf(guest);
  // Made before, and kept in memory: random bytes are dear to an emulated processor, and it is to outrun the link.
  await shell.run("head -c 16777216 /dev/urandom > /tmp/random", slowMs);
  const slow = bed.slowly("30mbit");
  try {
    const move = bed.move(guest, there());
    await move.until(
      "the disks to be over, and the memory to be on its way",
      () => move.source?.is === "copying" && (move.source.progress?.totalBytes ?? 0) > 0,
      slowMs,
    );
    // Each time to another place: what is written twice is sent once.
    const write =
      "for mib in $(seq 16 16 208); do dd if=/tmp/random of=/dev/vdc bs=1048576 seek=$mib conv=notrunc; done";
    // Not the shell's own job: it would say that it is done in the middle of what is read from it later.
    await shell.run(`((${write}) > /dev/null 2>&1 &)`);
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationNotInTime" });
    expect(move.end).toMatchObject({ message: expect.stringContaining("its disks change faster") });
  } finally {
    slow.end();
  }
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});

test.each(["source", "target"] as const)(
  "the %s's Compute dies in the mirror: one disk is left, and it is good",
  async (which) => {
    const guest = await boot();
    const slow = bed.slowly("8mbit");
    const { host, session } = which === "source" ? here() : there();
    try {
      const move = bed.move(guest, there());
      await inTheMirror(move);
      await host.killCompute();
      session.hello = null;
      host.startCompute();
      await back({ host, session });
      await move.untilOver();
      expect(move.end?.as).toBe("FAILED");
    } finally {
      slow.end();
    }
    await bed.expectWhole(guest);
    await expectKept(guest);
    await expectDisks(guest);
  },
);

const points = [
  ["target", "migration.disks.noted"],
  ["target", "migration.disks.made"],
  ["source", "migration.source.performed"],
  ["target", "migration.target.finish-asked"],
  ["target", "migration.target.finished"],
  ["source", "migration.disks.left-removed"],
] as const;

test.each(points)("the %s's Compute dies at %s: one disk is left, and it is good", async (which, name) => {
  const guest = await boot();
  const end = await dyingAt(which === "source" ? here() : there(), name, async () => {
    const move = bed.move(guest, there());
    await move.untilOver();
    return move.end;
  });
  expect(end).not.toBeNull();
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});

test("the target's Compute dies while it throws away the disks of a guest that has not come", async () => {
  const guest = await boot();
  const slow = bed.slowly("8mbit");
  try {
    const end = await dyingAt(there(), "migration.disks.arriving-removed", async () => {
      const move = bed.move(guest, there());
      await inTheMirror(move);
      move.wish = "cancel";
      await move.untilOver();
      return move.end;
    });
    expect(end?.as).toBe("FAILED");
  } finally {
    slow.end();
  }
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});

test("a file where one of its disks would be made is nobody's to write over, or to remove", async () => {
  const guest = await boot();
  const { host } = there();
  const file = `${host.stateDir}/disks/${guest.wanted.spec.dataDisks[0]?.id}.qcow2`;
  host.sh(`mkdir -p ${host.stateDir}/disks; echo precious > ${file}`);
  try {
    const move = bed.move(guest, there());
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationTargetRefused" });
    expect(host.sh(`cat ${file}`)).toBe("precious\n");
  } finally {
    host.sh(`rm ${file}`);
  }
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});

test("a folder of an earlier time where it would be made is nobody's to write into, or to remove", async () => {
  const guest = await boot();
  const { host } = there();
  const folder = `${host.stateDir}/instances/${guest.wanted.id}`;
  host.sh(`mkdir -p ${folder}; echo precious > ${folder}/disk.qcow2`);
  try {
    const move = bed.move(guest, there());
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationTargetRefused" });
    expect(JSON.stringify(move.end)).toContain(`in the folder ${guest.wanted.id} is there already`);
    expect(host.sh(`ls ${folder}; cat ${folder}/disk.qcow2`)).toBe("disk.qcow2\nprecious\n");
  } finally {
    host.sh(`rm -r ${folder}`);
  }
  await bed.expectWhole(guest);
  await expectKept(guest);
  await expectDisks(guest);
});
