/**
 * Moves of guests as VStation sees them: a real VStation on real PostgreSQL, and two simulated hosts whose halves say what the test makes
 * them say.
 */
import type { MigrationWire } from "../../../src/api/native/migrations.ts";
import type { WantedMigration } from "../../../src/api/agent.ts";
import type { SourceState, TargetState } from "../../../src/core/migration/halves.ts";
import type { HostId, InstanceId, MigrationId } from "../../../src/lib/ids.ts";
import type { SimHost } from "../../../src/sim/host.ts";
import { afterEach } from "vitest";
import { until } from "../../until.ts";
import { inState, run } from "./cloud.ts";
import { CvmCaller } from "./cvm.ts";
import { readyHost } from "./network.ts";
import { vstationForEach } from "./vstation-for.ts";
import type { TestVstation } from "./vstation.ts";

export interface MoveWorld {
  vstation: TestVstation;
  cvm: CvmCaller;
  source: SimHost;
  /** There once a subject is. */
  target: SimHost;
}

export const listening = { is: "listening" as const, port: 4567 } satisfies TargetState;
export const dropped = {
  is: "dropped" as const,
  reason: "target_refused" as const,
  message: "no hugepages are left",
} satisfies TargetState;
export const stayed = {
  is: "stayed" as const,
  reason: "copy_failed" as const,
  message: "QEMU gave up",
} satisfies SourceState;
const idle = { pass: 1, totalBytes: 100, sentBytes: 1, throttlePercent: 0, limitMs: 30 };
export const copying = (remainingBytes: number): SourceState => ({
  is: "copying",
  progress: { ...idle, remainingBytes, dirtyBytesPerSecond: 5, bytesPerSecond: 7 },
});

/** For each test a new one; `tell` hears of it, and again when the target is there. */
export function simulatedMoves(tell: (world: MoveWorld) => void) {
  let world: MoveWorld;
  vstationForEach(async (vstation) => {
    vstation.sharedDir = "/shared";
    await vstation.start();
    const source = await readyHost(vstation);
    world = { vstation, cvm: new CvmCaller(vstation.credentials), source, target: source };
    tell(world);
  });
  afterEach(() => world.vstation.expectNoErrors());

  /** On the first host, which alone is there yet; then the second one comes. */
  async function subject(request: Parameters<typeof run>[1] = {}): Promise<InstanceId> {
    const [id] = await run(world.vstation.native, { systemDiskType: "CLOUD_PREMIUM", ...request });
    if (id === undefined) throw new Error("no id");
    await inState(world.vstation, [id], "RUNNING");
    world.target = await readyHost(world.vstation);
    tell(world);
    return id;
  }

  const manual = (): void => {
    for (const host of [world.source, world.target]) host.halves.auto = false;
  };

  async function begin(id: InstanceId, to: HostId | null = null): Promise<MigrationId> {
    const { migrationId } = await world.vstation.native.call("instanceMigrate", {
      params: { id },
      request: { to, tries: 1 },
    });
    return migrationId;
  }

  function migration(id: MigrationId): Promise<MigrationWire> {
    return world.vstation.native.call("migrationGet", { params: { id } });
  }

  function becomes(id: MigrationId, wanted: Partial<MigrationWire>): Promise<MigrationWire> {
    return until(`${id} is ${JSON.stringify(wanted)}`, async () => {
      const found = await migration(id);
      const same = Object.entries(wanted).every(([key, value]) => found[key as keyof MigrationWire] === value);
      return same ? found : undefined;
    });
  }

  /** Both hosts have been told. */
  async function halves(id: MigrationId): Promise<void> {
    await half(world.source, id);
    await half(world.target, id);
  }

  function half(host: SimHost, id: MigrationId, is?: (one: WantedMigration) => boolean): Promise<WantedMigration> {
    return until(`${host.options.name} knows of ${id}`, () => {
      const one = host.halves.wanted.get(id);
      return one !== undefined && (is?.(one) ?? true) ? one : undefined;
    });
  }

  const isForgotten = (host: SimHost, id: MigrationId) =>
    until(`${host.options.name} is told that ${id} is over`, () => !host.halves.wanted.has(id));

  /** To where both hosts have each other and the copy runs. */
  async function copy(id: MigrationId): Promise<void> {
    await halves(id);
    world.target.halves.say(id, listening);
    await half(world.source, id, (one) => one.half.is === "source" && one.half.port === 4567);
    world.source.halves.say(id, copying(50));
    await becomes(id, { phase: "copying" });
  }

  async function used(): Promise<number[]> {
    const { hosts } = await world.vstation.native.call("hostList", {});
    return [world.source, world.target].map(({ id }) => hosts.find((host) => host.id === id)?.used.memoryMiB ?? -1);
  }

  /** What the placer believes is what SQL says, or it would have been built anew. */
  async function expectRoom(free: boolean): Promise<void> {
    await until(`room for a whole host: ${free}`, async () => {
      const { instanceTypes } = await world.vstation.native.call("instanceTypeList", {});
      const room = instanceTypes.find((type) => type.name === "S5.2XLARGE32")?.room;
      return room !== undefined && room > 0 === free;
    });
  }
  return { subject, manual, begin, migration, becomes, halves, half, isForgotten, copy, used, expectRoom };
}
