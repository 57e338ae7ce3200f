/** `disk` and `snapshot`: storage of instances. */
import { randomUUID } from "node:crypto";
import type { Command } from "commander";
import type { DiskWire, SnapshotWire } from "../../api/native/storage.ts";
import { diskTypes, type DiskType } from "../../core/disk.ts";
import { Failure } from "../../lib/errors.ts";
import type { DiskId, SnapshotId } from "../../lib/ids.ts";
import type { Context } from "../context.ts";
import { Exit, exitCodes, usageError } from "../exit.ts";
import { paint, type Io } from "../io.ts";
import { idOf, idsOf, listAll } from "../resolve.ts";
import { untilAtRest, type Look } from "../rest.ts";
import { age, table } from "../table.ts";
import { confirmed, contextOf, oneOf, waitOptions, wholeNumber, type WaitFlags } from "./shared.ts";

const largestGiB = 65_536;

export function addStorage(program: Command, io: Io): void {
  addDisk(program, io);
  addSnapshot(program, io);
}

function addDisk(program: Command, io: Io): void {
  const disk = program.command("disk").description("system and data disks");

  disk
    .command("list")
    .alias("ls")
    .description("list disks")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const disks = await listAll(context.client, "disk");
      const now = io.now();
      context.print({ total: disks.length, disks }, () =>
        table(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            { title: "USAGE", value: ({ usage }) => (usage === "SYSTEM_DISK" ? "system" : "data") },
            { title: "TYPE", value: ({ type }) => type },
            { title: "ON", value: ({ driver }) => driver },
            { title: "GiB", value: ({ sizeGiB }) => sizeGiB },
            { title: "STATE", value: stateText, paint: paintState(io) },
            { title: "INSTANCE", value: ({ instanceId: holder }) => holder },
            { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
          ],
          disks,
        ),
      );
      for (const { id, problem } of disks) if (problem !== null) context.say(`${id}: ${problem}`);
    });

  waitOptions(disk.command("create"))
    .argument("<name>", "name of the new disk")
    .description("make a data disk")
    .option("--size <GiB>", "size; as large as the snapshot when left out", wholeNumber(1, largestGiB))
    .option("--type <type>", "CLOUD_...: can be attached on any host; LOCAL_...: on one", oneOf(diskTypes))
    .option("--snapshot <snapshot>", "id or name: what it holds at first")
    .option("--mbps <n>", "MB/s that it may move at most", wholeNumber(1, 1_000_000))
    .option("--iops <n>", "requests a second that it may serve at most", wholeNumber(10, 10_000_000))
    .action(async (name: string, flags: CreateFlags, command: Command) => {
      const context = contextOf(io, command);
      if (flags.size === undefined && flags.snapshot === undefined) throw usageError("give --size or --snapshot");
      const { ids } = await context.client.call("diskCreate", {
        request: {
          name,
          type: flags.type,
          sizeGiB: flags.size ?? null,
          snapshotId: flags.snapshot === undefined ? null : await idOf(context.client, "snapshot", flags.snapshot),
          limits: limitsOf(flags),
          clientToken: randomUUID(),
        },
      });
      await waitForDisks(context, ids, flags);
      context.print({ ids }, () => `${ids.join("\n")}\n`);
    });

  waitOptions(disk.command("attach"))
    .argument("<disk...>", "ids or names")
    .requiredOption("--to <instance>", "id or name of the instance, running or stopped")
    .option("--delete-with-instance", "it goes when the instance does")
    .description("put disks into an instance's machine")
    .action(async (given: string[], flags: AttachFlags, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "disk", given);
      const to = await idOf(context.client, "instance", flags.to);
      const deleteWithInstance = flags.deleteWithInstance ?? null;
      await context.client.call("diskAttach", { request: { ids, instanceId: to, deleteWithInstance } });
      await endDisks(context, ids, flags, (one) => one.instanceId === to, `being attached to ${to}`);
    });

  waitOptions(disk.command("detach"))
    .argument("<disk...>", "ids or names")
    .description("take disks out of their instances' machines; a guest that runs must let go of them")
    .action(async (given: string[], flags: WaitFlags, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "disk", given);
      await context.client.call("diskDetach", { request: { ids } });
      await endDisks(context, ids, flags, (one) => one.instanceId === null, "being detached");
    });

  waitOptions(disk.command("resize"))
    .argument("<disk>", "id or name")
    .argument("<GiB>", "new size, larger than the present one", wholeNumber(1, largestGiB))
    .description("make a disk larger; a guest that runs sees it at once")
    .action(async (given: string, sizeGiB: number, flags: WaitFlags, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "disk", given);
      await context.client.call("diskModify", { params: { id }, request: { sizeGiB } });
      await endDisks(context, [id], flags, (one) => one.problem === null, `growing to ${sizeGiB} GiB`);
    });

  disk
    .command("set")
    .argument("<disk>", "id or name")
    .description("change a disk's name, its limits, or what becomes of it with its instance")
    .option("--name <name>", "new name")
    .option("--delete-with-instance", "it goes when its instance does")
    .option("--no-delete-with-instance", "it stays when its instance goes")
    .option("--mbps <n>", "MB/s that it may move at most; 0 lifts the limit", wholeNumber(0, 1_000_000))
    .option("--iops <n>", "requests a second that it may serve at most; 0 lifts the limit", wholeNumber(0, 10_000_000))
    .action(async (given: string, flags: SetFlags, command: Command) => {
      const context = contextOf(io, command);
      const { name, deleteWithInstance, mbps, iops } = flags;
      const both = limitsOf(flags);
      const limits =
        mbps === undefined && iops === undefined
          ? undefined
          : {
              bytesPerSecond: mbps === undefined ? undefined : both.bytesPerSecond,
              iops: iops === undefined ? undefined : both.iops,
            };
      const request = { name, deleteWithInstance, limits };
      if (Object.values(request).every((value) => value === undefined)) throw usageError("say what to change");
      const id = await idOf(context.client, "disk", given);
      const changed = await context.client.call("diskModify", { params: { id }, request });
      context.print(changed, () => `${changed.id} is changed\n`);
    });

  disk
    .command("delete")
    .alias("rm")
    .argument("<disk...>", "ids or names")
    .description("delete disks that no instance has, for good")
    .option("-y, --yes", "do not ask")
    .action(async (given: string[], flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "disk", given);
      await confirmed(context, flags.yes, `Delete ${ids.join(", ")}? What is on them is lost.`);
      for (const id of ids) await context.client.call("diskDelete", { params: { id } });
      context.print({ deleted: ids }, () => `deleted ${ids.join(", ")}\n`);
    });
}

function addSnapshot(program: Command, io: Io): void {
  const snapshot = program.command("snapshot").description("whole copies of disks, each as it was at one moment");

  snapshot
    .command("list")
    .alias("ls")
    .description("list snapshots, newest first")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const snapshots = await listAll(context.client, "snapshot");
      const now = io.now();
      context.print({ total: snapshots.length, snapshots }, () =>
        table(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            { title: "DISK", value: ({ diskId: of }) => of },
            { title: "GiB", value: ({ sizeGiB }) => sizeGiB },
            { title: "STATE", value: snapshotText, paint: paintState(io) },
            { title: "TAKES MiB", value: ({ bytes }) => (bytes === null ? null : Math.ceil(bytes / 2 ** 20)) },
            { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
          ],
          snapshots,
        ),
      );
      for (const { id, problem } of snapshots) if (problem !== null) context.say(`${id}: ${problem}`);
    });

  waitOptions(snapshot.command("create"))
    .argument("<disk>", "id or name of the disk, in use or not")
    .option("--name <name>", "name of the snapshot")
    .description("copy a disk as it is now")
    .action(async (given: string, flags: WaitFlags & { name?: string }, command: Command) => {
      const context = contextOf(io, command);
      const of = await idOf(context.client, "disk", given);
      const { id } = await context.client.call("snapshotCreate", { request: { diskId: of, name: flags.name } });
      const made = flags.wait === true ? await waitForSnapshot(context, id, flags) : undefined;
      context.print(made ?? { id }, () => `${id}\n`);
      if (made?.state === "FAILED") throw new Exit(exitCodes.failed);
    });

  waitOptions(snapshot.command("apply"))
    .argument("<snapshot>", "id or name")
    .requiredOption("--to <disk>", "id or name of a disk that no instance has, or whose instance is stopped")
    .option("-y, --yes", "do not ask")
    .description("put a snapshot into a disk; what the disk holds now is lost")
    .action(async (given: string, flags: WaitFlags & { to: string; yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "snapshot", given);
      const to = await idOf(context.client, "disk", flags.to);
      await confirmed(context, flags.yes, `Put ${id} into ${to}? What the disk holds now is lost.`);
      await context.client.call("snapshotApply", { params: { id }, request: { diskId: to } });
      await endDisks(context, [to], flags, (one) => one.problem === null, `being overwritten by ${id}`);
    });

  snapshot
    .command("delete")
    .alias("rm")
    .argument("<snapshot...>", "ids or names")
    .description("delete snapshots; disks that were made from them stay")
    .option("-y, --yes", "do not ask")
    .action(async (given: string[], flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "snapshot", given);
      await confirmed(context, flags.yes, `Delete ${ids.join(", ")}?`);
      for (const id of ids) await context.client.call("snapshotDelete", { params: { id } });
      context.print({ deleted: ids }, () => `deleted ${ids.join(", ")}\n`);
    });
}

interface LimitFlags {
  mbps?: number;
  iops?: number;
}
interface CreateFlags extends WaitFlags, LimitFlags {
  size?: number;
  type?: DiskType;
  snapshot?: string;
}
interface AttachFlags extends WaitFlags {
  to: string;
  deleteWithInstance?: boolean;
}
interface SetFlags extends LimitFlags {
  name?: string;
  deleteWithInstance?: boolean;
}

const bytesPerMegabyte = 1_000_000;

/** 0 and nothing at all are the same: no limit. */
function limitsOf({ mbps, iops }: LimitFlags): { bytesPerSecond: number | null; iops: number | null } {
  return { bytesPerSecond: mbps === undefined || mbps === 0 ? null : mbps * bytesPerMegabyte, iops: iops || null };
}

/** Tells what was begun, or with --wait how it ended; the exit code is that of the end. */
async function endDisks(
  context: Context,
  ids: readonly DiskId[],
  flags: WaitFlags,
  isAsWanted: (disk: DiskWire) => boolean,
  underWay: string,
): Promise<void> {
  const disks = await waitForDisks(context, ids, flags);
  if (disks === undefined) return context.print({ ids }, () => `${ids.join(", ")}: ${underWay}\n`);
  context.print({ total: disks.length, disks }, () => disks.map((disk) => `${disk.id}: ${disk.state}\n`).join(""));
  const failed = disks.filter((disk) => !isAsWanted(disk));
  for (const { id, problem } of failed) context.say(`${id}: ${problem ?? "it did not come about"}`);
  if (failed.length > 0) throw new Exit(exitCodes.failed);
}

async function waitForDisks(
  context: Context,
  ids: readonly DiskId[],
  flags: WaitFlags,
): Promise<DiskWire[] | undefined> {
  if (flags.wait !== true) return undefined;
  let disks: DiskWire[] = [];
  const look = async (signal: AbortSignal): Promise<Look> => {
    ({ disks } = await context.client.call("diskList", { query: { id: [...ids] } }, { signal }));
    const moving = disks.filter(({ state }) => state !== "ATTACHED" && state !== "UNATTACHED");
    return { underWay: moving.length === 0 ? null : moving.map((each) => `${each.id} ${stateText(each)}`).join(", ") };
  };
  await untilAtRest(context, ids.length === 1 ? "disk" : "disks", ids, look, flags.timeout * 1000);
  return disks;
}

async function waitForSnapshot(context: Context, id: SnapshotId, flags: WaitFlags): Promise<SnapshotWire> {
  let made: SnapshotWire | undefined;
  const look = async (signal: AbortSignal): Promise<Look> => {
    ({
      snapshots: [made],
    } = await context.client.call("snapshotList", { query: { id: [id] } }, { signal }));
    return { underWay: made?.state === "CREATING" ? `${id} ${snapshotText(made)}` : null };
  };
  await untilAtRest(context, "snapshot", [id], look, flags.timeout * 1000);
  if (made === undefined) throw new Failure("not_found", "SnapshotNotFound", `${id} was deleted meanwhile`);
  if (made.problem !== null) context.say(`${id}: ${made.problem}`);
  return made;
}

function stateText({ state, percent }: DiskWire): string {
  return percent === null ? state : `${state} ${percent} %`;
}

function snapshotText({ state, percent }: SnapshotWire): string {
  return state === "CREATING" ? `${state} ${percent} %` : state;
}

function paintState(io: Io): (text: string, row: { state: string; problem: string | null }) => string {
  return (text, { state, problem }) => {
    if (problem !== null || state === "FAILED") return paint(io, "red", text);
    if (state === "ATTACHED" || state === "NORMAL") return paint(io, "green", text);
    return state === "UNATTACHED" ? paint(io, "dim", text) : paint(io, "yellow", text);
  };
}
