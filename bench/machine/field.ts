/**
 * What the bench measures on: one host of its own with a real libvirtd and a real Compute, told what to run by the bench itself, so
 * that one guest differs from the next by one setting only. All guests run side by side and sleep while one of them is asked.
 */
import { execFileSync, spawn, type ChildProcess } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ComputeConfig } from "../../src/compute/config.ts";
import { plainPromise, type Machine } from "../../src/core/machine.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { ComputeBed } from "../../test/real/support/compute-bed.ts";
import type { ComputeHost } from "../../test/real/support/compute-host.ts";
import type { FakeHostSession } from "../../test/real/support/fake-vstation.ts";
import { until } from "../../test/until.ts";
import { tinyInstance } from "../../test/real/support/wanted-documents.ts";
import { buildYardstick, Yard, type Agent } from "./yardstick.ts";

export const vcpus = 2;
export const memoryMiB = 384;
const peerPort = 5999;
const patienceMs = 180_000;
const pagesFile = "/proc/sys/vm/nr_hugepages";
const hugepagesMiB = 2 * memoryMiB;

export type Io = "io_uring" | "threads";

/** Guests by name, each with the one thing in which it differs from `plain`. */
export const variants = {
  plain: { machine: {}, io: "io_uring" },
  pinned: { machine: { cpu: "dedicated" }, io: "io_uring" },
  hugepages: { machine: { cpu: "dedicated", hugepages: "2M" }, io: "io_uring" },
  iothread: { machine: { iothreads: 1 }, io: "io_uring" },
  queues: { machine: { nicQueues: 2 }, io: "io_uring" },
  threads: { machine: {}, io: "threads" },
  everything: { machine: { cpu: "dedicated", hugepages: "2M", iothreads: 1, nicQueues: 2 }, io: "io_uring" },
} as const satisfies Record<string, { machine: Partial<Machine>; io: Io }>;
export type Variant = keyof typeof variants;

export interface Field {
  readonly host: Agent;
  readonly guests: ReadonlyMap<Variant, Agent>;
  readonly accelerator: string;
  /** What the machine check of the host's readiness says. */
  readonly machine: string;
  /** Where the peer of the network figures listens. */
  readonly peer: string;
  /** A file on the storage that the guests' disks lie on. */
  readonly hostFile: string;
  end(): Promise<void>;
}

export async function layOut(say: (line: string) => void): Promise<Field> {
  const endings: (() => unknown)[] = [];
  const end = async (): Promise<void> => {
    for (const ending of endings.toReversed()) await ending();
  };
  try {
    return await layOutWith(endings, end, say);
  } catch (error) {
    await end();
    throw error;
  }
}

async function layOutWith(
  endings: (() => unknown)[],
  end: () => Promise<void>,
  say: (line: string) => void,
): Promise<Field> {
  const pages = readFileSync(pagesFile, "utf8");
  writeFileSync(pagesFile, String(Number(pages) + hugepagesMiB / 2));
  endings.push(() => writeFileSync(pagesFile, pages));
  const bed = await ComputeBed.begin();
  endings.push(() => bed.end());
  const shape = { cores: 16, memoryMiB: 8192, diskGiB: 100, hugepagesMiB };
  const { host, session } = await bed.host({ shape });
  const program = join(host.dir, "yardstick");
  await buildYardstick(program);
  const yard = await Yard.open(bed.underlay.address, program);
  endings.push(() => yard.close());
  const peer = spawn(program, ["peer", String(peerPort)], { stdio: "ignore" });
  endings.push(() => peer.kill("SIGKILL"));

  // Two lives of Compute, one for each way to the disk: guests outlive it.
  const ids = new Map<InstanceId, Variant>();
  for (const io of ["threads", "io_uring"] as const) {
    configure(host, (config) => ({ ...config, diskIo: io }));
    session.hello = null;
    host.startCompute();
    await until("Compute", () => session.hello !== null, patienceMs);
    for (const [name, variant] of Object.entries(variants) as [Variant, (typeof variants)[Variant]][]) {
      if (variant.io === io) ids.set(await startGuest(session, yard, name, variant.machine), name);
    }
    if (io === "threads") await host.killCompute("SIGTERM");
  }
  say(`${ids.size} guests run`);
  const own = runInHost(host, program, yard);
  endings.push(() => own.kill("SIGKILL"));
  const guests = new Map<Variant, Agent>();
  for (const name of ids.values()) guests.set(name, await yard.agent(name, patienceMs));
  const machine = session.hello?.readiness.checks.find((check) => check.name === "machine")?.message ?? "";
  return {
    host: await yard.agent("host", patienceMs),
    guests,
    accelerator: session.hello?.readiness.accelerator ?? "unknown",
    machine,
    peer: `${bed.underlay.address} ${peerPort}`,
    hostFile: join(host.stateDir, "yardstick.data"),
    end,
  };
}

async function startGuest(
  session: FakeHostSession,
  yard: Yard,
  name: Variant,
  machine: Partial<Machine>,
): Promise<InstanceId> {
  const script = [
    "#!/bin/sh",
    `busybox wget -q -O /run/y ${yard.programUrl} && chmod +x /run/y && exec /run/y agent ${yard.address} ${yard.port} ${name}`,
    "",
  ].join("\n");
  const userData = Buffer.from(script).toString("base64");
  const wanted = tinyInstance({
    vcpus,
    memoryMiB,
    machine: { ...plainPromise, baseline: "host", ...machine },
    userData,
  });
  session.want(wanted);
  await session.untilPhase(wanted.id, "running", patienceMs);
  return wanted.id;
}

function configure(host: ComputeHost, change: (config: ComputeConfig) => ComputeConfig): void {
  const file = join(host.dir, "compute.json");
  writeFileSync(file, JSON.stringify(change(JSON.parse(readFileSync(file, "utf8")) as ComputeConfig)));
}

/** The same program on the host itself: in its network, on its storage. */
function runInHost(host: ComputeHost, program: string, yard: Yard): ChildProcess {
  const copy = join(host.stateDir, "yardstick");
  copyFileSync(program, copy);
  execFileSync("chmod", ["+x", copy]);
  return host.spawn([copy, "agent", yard.address, String(yard.port), "host"]);
}
