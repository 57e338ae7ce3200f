/** The oracle of disks that are written to by two machines must be able to trip: here real machines do it, with their locks off. */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, expect, test } from "vitest";
import { gone } from "../../lab/processes.ts";
import { run } from "../../lab/run.ts";
import { Writers } from "../oracle/writers.ts";
import { until } from "../until.ts";

const folder = mkdtempSync(join(tmpdir(), "vstation-two-"));
const disk = join(folder, "disk.qcow2");
const machines: ChildProcess[] = [];

afterEach(async () => {
  for (const machine of machines.splice(0)) {
    machine.kill("SIGKILL");
    if (machine.pid !== undefined) await gone([machine.pid], 5_000);
  }
  rmSync(disk, { force: true });
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A machine without a system, whose disk is written to by its monitor. */
class Machine {
  readonly #child: ChildProcess;

  constructor() {
    const block = `driver=qcow2,node-name=disk,file.driver=file,file.filename=${disk},file.locking=off,cache.direct=on,file.aio=io_uring`;
    const args = ["-machine", "none", "-nodefaults", "-nographic", "-monitor", "stdio", "-blockdev", block];
    this.#child = spawn("qemu-system-x86_64", args, { stdio: ["pipe", "pipe", "inherit"] });
    machines.push(this.#child);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves when all of it is written, what QEMU notes about the image included. */
  async write(): Promise<void> {
    const { stdin, stdout } = this.#child;
    stdin?.write('qemu-io disk "write -P 7 0 64k"\n');
    for (let said = ""; !said.includes("ops/sec");) {
      const [chunk] = (await once(stdout ?? process.stdin, "data")) as [Buffer];
      said += chunk.toString();
    }
  }
}

async function begin(): Promise<[Writers, Machine, Machine]> {
  await run("qemu-img", ["create", "-q", "-f", "qcow2", disk, "64M"]);
  return [await Writers.watch([disk]), new Machine(), new Machine()];
}

const pids = (writers: Writers): number[] => writers.turns.map(({ pid }) => pid);

test("a machine that follows another one is no second writer", async () => {
  const [writers, first, second] = await begin();
  try {
    for (const machine of [first, second]) await machine.write();
    await until("both to be seen", () => pids(writers).length === 2);
    expect(pids(writers)).toEqual([first.pid, second.pid]);
    writers.check();
  } finally {
    await writers.end();
  }
});

test("a machine that writes after it was followed is seen", async () => {
  const [writers, first, second] = await begin();
  try {
    for (const machine of [first, second, first]) await machine.write();
    await until("all to be seen", () => pids(writers).length === 3);
    expect(() => writers.check()).toThrow(`${first.pid} wrote again after ${second.pid}`);
  } finally {
    await writers.end();
  }
});
