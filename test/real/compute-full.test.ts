/** A host whose disk is full to the last block takes orders all the same: else nobody could end what fills it. */
import { mkdtempSync, rmdirSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { UndoStack } from "../../src/lib/undo.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import type { ComputeHost } from "./support/compute-host.ts";
import type { FakeHostSession } from "./support/fake-vstation.ts";
import { fill, mountSmallDisk } from "./support/small-disk.ts";
import { tinyInstance } from "./support/wanted-documents.ts";

const undo = new UndoStack();
let host: ComputeHost;
let session: FakeHostSession;
let disk = "";

beforeAll(async () => {
  disk = mkdtempSync(join(tmpdir(), "vstation-disk-"));
  undo.push("folder", () => rmdirSync(disk));
  mountSmallDisk(disk, 96, undo);
  const bed = await ComputeBed.begin();
  undo.push("bed", () => bed.end());
  ({ host, session } = await bed.host({ stateDir: disk }));
  host.startCompute();
  await until(
    "Compute and libvirt to be well",
    () => session.socket !== null && session.check("libvirt") === "ok",
    90_000,
  );
});

afterAll(async () => {
  const failures: string[] = [];
  await undo.unwind((name, error) => failures.push(`${name}: ${String(error)}`));
  if (failures.length > 0) throw new Error(failures.join("; "));
});

test("stops, ends and begins instances on a full disk as far as that needs no room, and goes on when there is some", async () => {
  const victim = tinyInstance();
  const neighbour = tinyInstance();
  session.want(victim);
  session.want(neighbour);
  await session.untilPhase(victim.id, "running");
  await session.untilPhase(neighbour.id, "running");
  const pid = host.qemuPid(neighbour.id);
  const free = fill(disk);

  const stopped = { ...victim, power: { state: "stopped", how: "hard" } } as const;
  session.want(stopped);
  await session.untilPhase(victim.id, "stopped");
  // A Compute that comes back to a full disk finds its reserve where it was.
  await host.killCompute();
  session.seen.clear();
  host.startCompute();
  await session.untilPhase(victim.id, "stopped");
  const third = tinyInstance();
  session.want(third);
  // Whether its files still fit hangs on some blocks; either way it says what it lacks.
  const lacksRoom = (): boolean => {
    const phase = session.phase(third.id);
    return (phase?.is === "failed" || phase?.is === "paused") && phase.reason === "out_of_space";
  };
  await until("the new one to say that there is no room", lacksRoom, 120_000);
  session.want({ ...victim, power: { state: "gone" } });
  await session.untilPhase(victim.id, "gone");
  expect(host.qemuPid(neighbour.id)).toBe(pid);

  free();
  await session.untilPhase(third.id, "running", 90_000);
  for (const one of [third, neighbour]) {
    session.want({ ...one, power: { state: "gone" } });
    await session.untilPhase(one.id, "gone");
  }
  expect(host.sh(`ls ${disk}/instances`).trim()).toBe("");
}, 400_000);
