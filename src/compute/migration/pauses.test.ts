/** What pauses took, on the disk: what a Compute that begins anew still knows of it. */
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { createLog } from "../../lib/log.ts";
import { Pauses } from "./pauses.ts";

const log = createLog("test", { part: "pauses" });
const of = { vcpus: 2, devices: 2, memoryMiB: 2_048, disks: false };
let directory = "";
let file = "";

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "pauses-"));
  file = join(directory, "pauses.json");
});
afterEach(() => rm(directory, { recursive: true }));

async function loaded(): Promise<Pauses> {
  const pauses = new Pauses(file, log);
  await pauses.load();
  return pauses;
}

it("knows after a new beginning what it knew before", async () => {
  const before = await loaded();
  expect(before.known).toEqual([]);
  before.remember({ of, pauseMs: 40.5, limitMs: 10 }, 10);
  before.remember({ of, pauseMs: 42, limitMs: 10 }, 10);
  before.remember({ of, pauseMs: 800, limitMs: 1_485 }, 10);
  expect(before.known.map(({ pauseMs }) => pauseMs)).toEqual([40.5, 42]);
  await before.written();
  // A process that died while it wrote.
  await writeFile(`${file}.0badcafe.partial`, "{");
  expect((await loaded()).known).toEqual(before.known);
  expect(await readdir(directory)).toEqual(["pauses.json"]);
});

it.each(["", "{", "[]", '{"version":2,"pauses":[]}', '{"version":1,"pauses":[{"pauseMs":-1}]}'])(
  "takes %j for nothing, and goes on from there",
  async (text) => {
    await writeFile(file, text);
    const pauses = await loaded();
    expect(pauses.known).toEqual([]);
    pauses.remember({ of, pauseMs: 40, limitMs: 10 }, 10);
    await pauses.written();
    expect((await loaded()).known).toHaveLength(1);
  },
);

it("is no reason for anything where it cannot be written", async () => {
  file = join(directory, "not-there", "pauses.json");
  const pauses = await loaded();
  pauses.remember({ of, pauseMs: 40, limitMs: 10 }, 10);
  await pauses.written();
  expect(pauses.known).toHaveLength(1);
});
