/**
 * A running guest moves between two real hosts: two Computes, two libvirtd, one shared folder, one underlay, and VStation's part in the
 * test's hand. Whatever dies on the way, the same guest (by its boot id) runs in exactly one place afterwards, and answers there.
 */
import { expect, test } from "vitest";
import { noLimits } from "../../src/api/agent-storage.ts";
import { newId } from "../../src/lib/ids.ts";
import { Move, type Place } from "./support/move.ts";
import {
  addressOf,
  back,
  dyingAt,
  inTheCopy,
  type MovingBed,
  movingBedForAll,
  patience,
  restartCompute,
  restartLibvirtd,
  stoppingAt,
} from "./support/moving-bed.ts";

let bed: MovingBed;
movingBedForAll((made) => (bed = made));

const [here, there] = [() => bed.here, () => bed.there];

test("a running guest moves and is the same one, reachable all the time from everywhere; nothing stays behind", async () => {
  const guest = await bed.boot(here());
  const neighbours = [await bed.boot(here()), await bed.boot(there())];
  const counting = bed.outside.pings(addressOf(guest), 200);
  const move = bed.move(guest, there());
  move.holdOver = true;
  await move.until("the guest to have moved", () => move.moved && move.source?.is === "left", patience);
  const answered = await counting;
  const pauseMs = move.source?.is === "left" ? move.source.pauseMs : null;
  process.stdout.write(`pause ${pauseMs?.toFixed(1)} ms, ${answered} of 200 pings answered\n`);
  expect(pauseMs).toBeGreaterThan(0);
  // Whoever has not heard yet still sends to the source, which passes it on.
  expect(await bed.outside.pings(addressOf(guest), 10)).toBe(10);
  bed.outside.knows(bed.peers());
  for (const neighbour of neighbours) {
    const shell = await bed.shellOf(neighbour);
    expect(await shell.run(`ping -c 3 -W 5 ${addressOf(guest)} >/dev/null && echo reached`)).toContain("reached");
  }
  await move.untilOver();
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  // For the aim of the next one, whatever becomes of this Compute.
  expect(JSON.parse(here().host.sh(`cat ${here().host.stateDir}/pauses.json`))).toMatchObject({
    pauses: [{ pauseMs }],
  });
  await bed.expectWhole(guest);
  await bed.expectNotAt(here(), guest);
  for (const neighbour of neighbours) {
    const shell = await bed.shellOf(neighbour);
    expect(await shell.run(`ping -c 3 -W 5 ${addressOf(guest)} >/dev/null && echo reached`)).toContain("reached");
  }
  // The greater part; how many exactly is the machine's business.
  expect(answered).toBeGreaterThan(100);
});

test("a target that cannot take it refuses with its reason, and the guest goes on", async () => {
  const guest = await bed.boot(here());
  const { systemDisk } = guest.wanted.spec;
  // One that lies nowhere.
  const gone = { ...systemDisk, id: newId("disk"), limits: noLimits, slot: 0, made: true };
  const spec = { ...guest.wanted.spec, dataDisks: [gone] };
  const move = new Move({ ...guest.wanted, spec }, guest.at, there(), () => expect.fail("it moved"));
  await move.untilOver();
  expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationDiskMissing" });
  expect(JSON.stringify(move.end)).toContain(gone.id);
  await bed.expectWhole(guest);
  await bed.expectNotAt(there(), guest);
});

test("a copy that is cancelled leaves the guest where it is, and it can be moved after that", async () => {
  const guest = await bed.boot(here());
  const slow = bed.slowly();
  const move = bed.move(guest, there());
  try {
    await inTheCopy(move);
    move.wish = "cancel";
    await move.untilOver();
  } finally {
    slow.end();
  }
  expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationCancelled" });
  await bed.expectWhole(guest);
  await bed.expectNotAt(there(), guest);
  const second = bed.move(guest, there());
  await second.untilOver();
  expect(second.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectWhole(guest);
});

/** What may be killed in the copy, and is brought back as its supervisor would. */
const victims: Record<string, (from: Place, to: Place) => Promise<void>> = {
  "the source's Compute": (from) => restartCompute(from),
  "the target's Compute": (_, to) => restartCompute(to),
  "the source's libvirtd": (from) => restartLibvirtd(from),
  "the target's libvirtd": (_, to) => restartLibvirtd(to),
};

test.each(Object.keys(victims))("%s dies in the copy: the guest goes on in one place", async (name) => {
  const guest = await bed.boot(here());
  const slow = bed.slowly();
  const move = bed.move(guest, there());
  try {
    await inTheCopy(move);
    await victims[name]?.(here(), there());
    await move.untilOver();
  } finally {
    slow.end();
  }
  expect(move.end?.as).toBe("FAILED");
  await bed.expectWhole(guest);
  await bed.expectNotAt(there(), guest);
});

test.each(["source", "target"] as const)("the %s's libvirtd dies at the hand-over", async (which) => {
  const guest = await bed.boot(here());
  const move = bed.move(guest, there());
  const { host } = which === "source" ? here() : there();
  await move.until("the hand-over", () => move.source?.is === "handing" || move.end !== null);
  await restartLibvirtd({ host, session: here().session });
  await move.untilOver();
  expect(move.end).not.toBeNull();
  await bed.expectWhole(guest);
  await bed.expectNotAt(guest.at === here() ? there() : here(), guest);
});

/** By the host whose Compute dies there, in a migration that otherwise succeeds. */
const points = {
  source: [
    "migration.source.copying-written",
    "migration.source.begun",
    "migration.source.prepared",
    "migration.source.performed",
    "migration.source.finished",
    "migration.source.confirmed",
    "migration.source.left-written",
    "migration.source.document-forgotten",
    "migration.source.cleaned",
  ],
  target: [
    "migration.target.open-written",
    "migration.target.adopted",
    "vm.arrival.made",
    "migration.target.listening",
    "migration.target.prepared",
    "migration.target.finishing-written",
    "migration.target.finish-asked",
    "network.switch.done",
    "migration.target.finished",
    "migration.target.arrived-written",
  ],
} as const;
const cases = Object.entries(points).flatMap(([which, names]) => names.map((name) => [which, name] as const));

test.each(cases)("the %s's Compute dies at %s", async (which, name) => {
  const guest = await bed.boot(here());
  const place = which === "source" ? here() : there();
  const end = await dyingAt(place, name, async () => {
    const move = bed.move(guest, there());
    await move.untilOver();
    return move.end;
  });
  expect(end).not.toBeNull();
  await bed.expectWhole(guest);
  await bed.expectNotAt(guest.at === here() ? there() : here(), guest);
});

test("the target's host loses its power as soon as the guest runs there: it has arrived, and older memory is not woken over its disk", async () => {
  const guest = await bed.boot(here());
  const { id } = guest.wanted;
  const { host, session } = there();
  const stopped = await stoppingAt(there(), "migration.target.finished");
  const move = bed.move(guest, there());
  await move.until("the guest to run there", () => stopped.isThere());
  await host.killCompute();
  await host.powerCut();
  session.hello = null;
  host.startCompute();
  await back(there());
  await move.untilOver();
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectNotAt(here(), guest);
  // Its owner's restart policy has the word now.
  await session.untilPhase(id, "exited", patience);
});

/** Points that only a migration comes by that comes to nothing: its target refuses when it is asked to finish. */
const unhappy = [
  ["source", "migration.source.stayed-written"],
  ["target", "migration.target.dropped-written"],
  ["target", "migration.target.cleaned"],
] as const;

test.each(unhappy)("the %s's Compute dies at %s, of a migration that comes to nothing", async (which, name) => {
  const guest = await bed.boot(here());
  const slow = bed.slowly();
  try {
    const end = await dyingAt(which === "source" ? here() : there(), name, async () => {
      const move = bed.move(guest, there());
      await inTheCopy(move);
      move.wish = "cancel";
      await move.untilOver();
      return move.end;
    });
    expect(end?.as).toBe("FAILED");
  } finally {
    slow.end();
  }
  await bed.expectWhole(guest);
  await bed.expectNotAt(there(), guest);
});
