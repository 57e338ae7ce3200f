/** `instance run`, and what can be done to instances that exist. */
import { randomUUID } from "node:crypto";
import { InvalidArgumentError, type Command } from "commander";
import type { RouteAnswer, RouteInput } from "../../api/native/routes.ts";
import {
  allowedStates,
  restartPolicies,
  userDataBytes,
  type InstanceAction,
  type StopMode,
} from "../../core/instance.ts";
import { diskTypes, type DiskType } from "../../core/disk.ts";
import { isFailure } from "../../lib/errors.ts";
import { type ImageId, type OperationId } from "../../lib/ids.ts";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { idOf, idsOf, listAll } from "../resolve.ts";
import { readSmall } from "../small-file.ts";
import { table } from "../table.ts";
import { collect, confirmed, contextOf, exitOnFailed, maybeWait, oneOf, waitOptions, wholeNumber } from "./shared.ts";
import type { WaitFlags } from "./shared.ts";

/** Of an address towards the outside, where nobody says how much. */
const standardMbps = 100;

interface RunFlags extends WaitFlags {
  count: number;
  minCount?: number;
  type: string;
  image?: string;
  name?: string;
  hostname?: string;
  key?: string[];
  group?: string;
  subnet?: string;
  ip?: string[];
  securityGroup?: string[];
  public?: number | true;
  userData?: string;
  disk?: number;
  diskType?: DiskType;
  data?: DataDiskFlag[];
  restartPolicy?: (typeof restartPolicies)[number];
  protect?: boolean;
  tag?: string[];
  zone?: string;
  clientToken?: string;
  dryRun?: boolean;
}

export function addInstanceActions(instance: Command, io: Io): void {
  waitOptions(instance.command("run"))
    .description("create and start instances")
    .option("--count <n>", "how many", wholeNumber(1, 500), 1)
    .option("--min-count <n>", "at least so many, or none", wholeNumber(1, 500))
    .option("--type <type>", "instance type (`type list` shows them)", "T1.SMALL1")
    .option("--image <image>", "id or name; may be left out when there is only one")
    .option("--name <name>", "name; with --count a number is appended, {R:1} says where")
    .option("--hostname <name>", "host name inside the guest")
    .option("--key <key>", "id or name of a key pair (repeatable)", collect)
    .option("--group <group>", "disaster-recover group: its members run on different hosts")
    .option("--subnet <subnet>", "id or name; the account's default one when left out")
    .option("--ip <address>", "a certain address of the subnet, one for each instance (repeatable)", collect)
    .option("--security-group <group>", "id or name; the default one when left out (repeatable, in order)", collect)
    .option("--public [Mbps]", "with an address towards the outside, which goes when it does", wholeNumber(1, 65_535))
    .option("--user-data <file>", "file handed to the guest's first boot; - reads standard input")
    .option("--disk <GiB>", "size of the system disk", wholeNumber(1, 65_536))
    .option("--disk-type <type>", "of the system disk; the host's own storage when left out", oneOf(diskTypes))
    .option("--data <GiB[:type]>", "data disk made with it, gone with it (repeatable)", dataDisk)
    .option(
      "--restart-policy <policy>",
      "always or never: what happens when the guest ends by itself",
      oneOf(restartPolicies),
    )
    .option("--protect", "refuse termination until the protection is taken off")
    .option("--tag <key=value>", "tag (repeatable)", collect)
    .option("--zone <zone>", "zone; may be left out when there is only one")
    .option("--client-token <token>", "the same token never creates twice")
    .option("--dry-run", "check everything, room included; create nothing")
    .action(async (flags: RunFlags, command: Command) => instanceRun(contextOf(io, command), flags));

  power(instance, io, "start", "start stopped instances");
  power(instance, io, "stop", "stop running instances");
  power(instance, io, "reboot", "reboot running instances");

  waitOptions(instance.command("resize"))
    .argument("<instance>", "id or name")
    .argument("<type>", "instance type (`type list` shows them)")
    .description("give an instance another type, on its host")
    .option("--stop", "if it runs, stop it for that and start it again")
    .action(async (given: string, type: string, flags: WaitFlags & { stop?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "instance", given);
      const request = { id, instanceType: type, mayStop: flags.stop === true };
      const { operationIds } = await context.client.call("instanceResize", { request });
      await report(context, { instanceIds: [id], operationIds }, flags);
    });

  waitOptions(instance.command("terminate"))
    .argument("<instance...>", "ids or names")
    .description("end instances for good, disks included")
    .option("-y, --yes", "do not ask")
    .action(async (given: string[], flags: WaitFlags & { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "instance", given);
      await confirmed(context, flags.yes, `Terminate ${ids.join(", ")}? Their disks are deleted.`);
      const { operationIds } = await context.client.call("instanceTerminate", { request: { ids } });
      await report(context, { instanceIds: ids, operationIds }, flags);
    });

  waitOptions(instance.command("reinstall"))
    .argument("<instance>", "id or name")
    .description("start over from an image: a new system disk; addresses and data disks stay")
    .option("--image <image>", "id or name of another image than it has")
    .option("--disk <GiB>", "size of the new system disk", wholeNumber(1, 65_536))
    .option("--key <key>", "id or name of a key pair instead of those it has (repeatable)", collect)
    .option("--user-data <file>", "new user data; - reads standard input")
    .option("-y, --yes", "do not ask")
    .action(async (given: string, flags: ReinstallFlags, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "instance", given);
      const request = {
        imageId: flags.image === undefined ? null : await idOf(context.client, "image", flags.image),
        systemDiskGiB: flags.disk ?? null,
        keyIds: flags.key === undefined ? null : await idsOf(context.client, "key", flags.key),
        userData: flags.userData === undefined ? null : readSmall(flags.userData, userDataBytes).toString("base64"),
      };
      await confirmed(context, flags.yes, `Reinstall ${id}? What is on its system disk is lost.`);
      const { operationIds } = await context.client.call("instanceReinstall", { params: { id }, request });
      await report(context, { instanceIds: [id], operationIds }, flags);
    });

  instance
    .command("set")
    .argument("<instance>", "id or name")
    .description("change one property of an instance")
    .option("--name <name>", "new name")
    .option("--restart-policy <policy>", "always or never", oneOf(restartPolicies))
    .option("--protect", "refuse termination")
    .option("--no-protect", "allow termination")
    .option("--user-data <file>", "new user data; - reads standard input")
    .option("--security-group <group>", "id or name: be in these, in this order, and in no other (repeatable)", collect)
    .action(async (given: string, flags: SetFlags, command: Command) => {
      const context = contextOf(io, command);
      const request = await changeOf(context, flags);
      const id = await idOf(context.client, "instance", given);
      const changed = await context.client.call("instanceModify", { params: { id }, request });
      context.print(changed, () => `${changed.id} is changed\n`);
    });
}

function power(instance: Command, io: Io, verb: "start" | "stop" | "reboot", description: string): void {
  const command = waitOptions(instance.command(verb)).argument("<instance...>", "ids or names");
  command.description(`${description} (allowed while ${allowedText(verb)})`);
  if (verb !== "start") {
    command
      .option("--soft", "only ask the guest; fail if it does not follow")
      .option("--hard", "do not ask the guest: as if the power were cut");
  }
  command.action(async (given: string[], flags: WaitFlags & { soft?: boolean; hard?: boolean }, self: Command) => {
    const context = contextOf(io, self);
    if (flags.soft === true && flags.hard === true) throw usageError("--soft and --hard exclude each other");
    const how: StopMode = flags.hard === true ? "hard" : flags.soft === true ? "soft" : "soft_first";
    const ids = await idsOf(context.client, "instance", given);
    const { operationIds } = await call(context, verb, ids, how);
    await report(context, { instanceIds: ids, operationIds }, flags);
  });
}

function allowedText(action: InstanceAction): string {
  return allowedStates[action].join(", ");
}

async function call(
  { client }: Context,
  verb: "start" | "stop" | "reboot",
  ids: string[],
  how: StopMode,
): Promise<{ operationIds: OperationId[] }> {
  if (verb === "start") return await client.call("instanceStart", { request: { ids } });
  if (verb === "stop") return await client.call("instanceStop", { request: { ids, how } });
  return await client.call("instanceReboot", { request: { ids, how } });
}

interface ReinstallFlags extends WaitFlags {
  image?: string;
  disk?: number;
  key?: string[];
  userData?: string;
  yes?: boolean;
}

interface DataDiskFlag {
  sizeGiB: number;
  type?: DiskType;
}

function dataDisk(text: string, before: DataDiskFlag[] | undefined): DataDiskFlag[] {
  const [size = "", type, ...more] = text.split(":");
  if (more.length > 0) throw new InvalidArgumentError("write GiB or GiB:TYPE, such as 100:CLOUD_SSD");
  const sizeGiB = wholeNumber(1, 65_536)(size);
  return [...(before ?? []), type === undefined ? { sizeGiB } : { sizeGiB, type: oneOf(diskTypes)(type) }];
}

async function instanceRun(context: Context, flags: RunFlags): Promise<void> {
  const { client } = context;
  const image = flags.image === undefined ? await onlyImage(context) : await idOf(client, "image", flags.image);
  const request: RouteInput<"instanceRun">["request"] = {
    instanceType: flags.type,
    imageId: image,
    count: flags.count,
    minCount: flags.minCount,
    name: flags.name,
    hostname: flags.hostname,
    systemDiskGiB: flags.disk,
    systemDiskType: flags.diskType,
    dataDisks: flags.data,
    keyIds: flags.key === undefined ? [] : await idsOf(client, "key", flags.key),
    groupId: flags.group === undefined ? null : await idOf(client, "group", flags.group),
    subnetId: flags.subnet === undefined ? null : await idOf(client, "subnet", flags.subnet),
    ips: flags.ip,
    securityGroupIds: await idsOf(client, "securityGroup", flags.securityGroup ?? []),
    publicMbps: flags.public === true ? standardMbps : flags.public,
    userData: flags.userData === undefined ? null : readSmall(flags.userData, userDataBytes).toString("base64"),
    restartPolicy: flags.restartPolicy,
    terminationProtection: flags.protect,
    tags: tagsOf(flags.tag ?? []),
    zone: flags.zone,
    clientToken: flags.clientToken ?? randomUUID(),
    dryRun: flags.dryRun,
  };
  const run = (): Promise<RouteAnswer<"instanceRun">> => client.call("instanceRun", { request });
  const made = await run().catch((error: unknown) => {
    // The token makes asking again safe: an answer that was lost on the way is given once more, nothing is created twice.
    if (isFailure(error, "timeout", "unavailable")) return run();
    throw error;
  });
  if (flags.dryRun === true) {
    context.print({ ...made, dryRun: true }, () => "it would fit; nothing was created\n");
    return;
  }
  await report(context, made, flags);
}

/** What came of an action: ids for programs, a table for people, and the end of each operation if it was waited for. */
async function report(
  context: Context,
  made: { instanceIds: readonly string[]; operationIds: readonly OperationId[] },
  flags: WaitFlags,
): Promise<void> {
  const operations = await maybeWait(context, made.operationIds, flags);
  const rows = made.instanceIds.map((id, i) => ({ id, operationId: made.operationIds[i] ?? null }));
  context.print({ ...made, ...(operations === undefined ? {} : { operations }) }, () =>
    table(
      [
        { title: "INSTANCE", value: ({ id }) => id },
        { title: "OPERATION", value: ({ operationId }) => operationId },
        { title: "STATE", value: (_row) => operations?.find(({ id }) => id === _row.operationId)?.state ?? "accepted" },
      ],
      rows,
    ),
  );
  exitOnFailed(operations);
}

async function onlyImage(context: Context): Promise<ImageId> {
  const images = await listAll(context.client, "image");
  const [image, ...others] = images;
  if (image !== undefined && others.length === 0) return image.id;
  throw usageError(
    image === undefined
      ? "there is no image yet: `./vstation image import` brings one"
      : `say which --image: ${images.map(({ id, name }) => `${name} (${id})`).join(", ")}`,
  );
}

function tagsOf(given: readonly string[]): Record<string, string> {
  return Object.fromEntries(
    given.map((text) => {
      const at = text.indexOf("=");
      if (at < 1) throw usageError(`--tag ${text}: give it as key=value`);
      return [text.slice(0, at), text.slice(at + 1)];
    }),
  );
}

interface SetFlags {
  name?: string;
  securityGroup?: string[];
  restartPolicy?: (typeof restartPolicies)[number];
  protect?: boolean;
  userData?: string;
}

async function changeOf({ client }: Context, flags: SetFlags): Promise<RouteInput<"instanceModify">["request"]> {
  const changes: RouteInput<"instanceModify">["request"][] = [];
  if (flags.name !== undefined) changes.push({ name: flags.name });
  if (flags.restartPolicy !== undefined) changes.push({ restartPolicy: flags.restartPolicy });
  if (flags.protect !== undefined) changes.push({ terminationProtection: flags.protect });
  if (flags.userData !== undefined)
    changes.push({ userData: readSmall(flags.userData, userDataBytes).toString("base64") });
  if (flags.securityGroup !== undefined) {
    changes.push({ securityGroupIds: await idsOf(client, "securityGroup", flags.securityGroup) });
  }
  const [change, ...others] = changes;
  if (change === undefined) throw usageError("say what to change; `./vstation instance set --help` lists it");
  if (others.length > 0) throw usageError("one change at a time: a request that is half done has no good answer");
  return change;
}
