/**
 * A host's storage runs full under a guest that writes. The guest must pause and not die, the instance must say so and what to
 * do, room must be enough to let it go on by itself, and nothing that the guest was told is on its disk may be missing.
 *
 * The whole home lies on that small file system, the database too: the control plane answers meanwhile, or says why not.
 */
import { mkdtempSync, rmdirSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { imageId, instanceType } from "../../bench/delivery/guest.ts";
import { LabSession } from "../../bench/lab-session.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { run } from "../../lab/run.ts";
import { UndoStack } from "../../src/lib/undo.ts";
import { formatError, isFailure } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { identityOf } from "../faults/bed.ts";
import { bootIdOf } from "../faults/guest.ts";
import { expectThat, until } from "../until.ts";

const sizeMiB = 1536;
const ballastMiB = 256;
/** More than the file system has: what ends the writing is the host's disk, not the guest's own. */
const diskGiB = 3;
const patienceMs = 120_000;

let folder = "";
let lab: LabSession;
/** What is undone at the end, whatever happened before. */
const undo = new UndoStack();

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "vstation-full-"));
  undo.push("folder", () => rmdirSync(folder));
  const image = `${folder}.img`;
  await run("truncate", ["-s", `${sizeMiB}M`, image]);
  undo.push("image", () => rmSync(image));
  await run("mkfs.ext4", ["-q", "-F", "-m", "0", image]);
  await run("mount", ["-o", "loop", image, folder]);
  undo.push("mount", async () => void (await run("umount", [folder])));
  lab = await LabSession.begin({ hosts: 1, parent: folder });
  undo.push("lab", () => lab.end());
});

afterAll(async () => {
  const failures: string[] = [];
  await undo.unwind((name, error) => failures.push(`${name}: ${formatError(error)}`));
  if (failures.length > 0) throw new Error(failures.join("; "));
});

async function launch(name: string): Promise<{ id: InstanceId; ip: string; bootId: string }> {
  const [id] = await lab.cloud.run({ name, imageId, instanceType, diskGiB });
  if (id === undefined) throw new Error("RunInstances returned no id");
  await lab.cloud.succeeded([id], patienceMs);
  const { ip } = await lab.cloud.instance(id);
  return { id, ip, bootId: await until(`${id} answers`, () => bootIdOf(ip), patienceMs) };
}

function freeMiB(): number {
  const { bavail, bsize } = statfsSync(folder);
  return Math.floor((bavail * bsize) / 2 ** 20);
}

it(
  "pauses a guest that finds no room, says so, and lets it go on when there is room",
  async () => {
    const ballast = join(folder, "ballast");
    await run("fallocate", ["-l", `${ballastMiB}M`, ballast]);
    const writer = await launch("writer");
    const neighbour = await launch("neighbour");
    const processes = [writer, neighbour].map(({ id }) => identityOf(lab, id));

    // Records that count as acknowledged only after fsync, beside bulk writes that need more room than there is.
    const records = await ProbeClient.connect(writer.ip);
    const bulkWriter = await ProbeClient.connect(writer.ip);
    await records.recordsStart(20_000);
    const wishMiB = freeMiB() + ballastMiB / 4;
    const bulk = bulkWriter.diskWrite(wishMiB, 15 * 60_000);
    const ended = bulk.then((written) => {
      throw new Error(`the guest wrote ${written.writtenMiB} MiB and never ran out of space`);
    });

    // Every answer meanwhile is an answer or a failure that says why; silence is none. On a slow disk a database that is full takes its time.
    const { native } = lab.cloud;
    const asked = { params: { id: writer.id } };
    const refusals = new Set<string>();
    const isPaused = until(
      "the instance says that there is no room",
      async () => {
        try {
          const instance = await native.call("instanceGet", asked, { timeoutMs: patienceMs });
          expectThat(
            instance.attention?.includes("storage is full") === true,
            `attention: ${instance.attention ?? "none"}`,
          );
          return instance;
        } catch (error) {
          if (isFailure(error)) refusals.add(`${error.kind}: ${error.message}`);
          throw error;
        }
      },
      10 * 60_000,
    );
    const paused = await Promise.race([isPaused, ended]);
    expect(paused.state).toBe("RUNNING");
    for (const refusal of refusals) expect(refusal).toMatch(/^(unavailable|internal): .{10,}/);
    await expect(bootIdOf(writer.ip, 2000)).rejects.toThrow(/no answer/);
    expect([writer, neighbour].map(({ id }) => identityOf(lab, id))).toEqual(processes);
    expect(await bootIdOf(neighbour.ip)).toBe(neighbour.bootId);

    rmSync(ballast);
    expect(await until("the guest goes on", () => bootIdOf(writer.ip), patienceMs)).toBe(writer.bootId);
    expect(await bulk).toMatchObject({ writtenMiB: wishMiB });
    const status = await records.recordsStop(60_000);
    expect(status).toMatchObject({ failed: 0, error: "" });
    expect(status.acked).toBeGreaterThan(0);
    expect(await records.lastRecord()).toBeGreaterThanOrEqual(status.acked);
    records.close();
    bulkWriter.close();
    expect([writer, neighbour].map(({ id }) => identityOf(lab, id))).toEqual(processes);

    await until(
      "the instance has nothing to say any more",
      async () => {
        const { attention } = await lab.cloud.instance(writer.id);
        expectThat(attention === null, `attention: ${attention ?? ""}`);
        return true;
      },
      patienceMs,
    );
    await lab.cloud.terminate(writer.id, neighbour.id);
    await lab.cloud.succeeded([writer.id, neighbour.id], patienceMs);
    const third = await launch("third");
    expect(third.bootId).not.toBe(writer.bootId);
  },
  20 * 60_000,
);
