/** `instance list` and `instance show`. */
import type { Command } from "commander";
import type { InstanceWire } from "../../api/native/resources.ts";
import { instanceStates } from "../../core/instance.ts";
import type { Context } from "../context.ts";
import type { Io } from "../io.ts";
import { idOf, listAll, type InstanceFilter } from "../resolve.ts";
import { age, facts, printable, table } from "../table.ts";
import { operationSteps } from "./operation.ts";
import { collect, contextOf, oneOf, paintState, stateText } from "./shared.ts";

interface ListFlags {
  state?: string[];
  name?: string[];
  type?: string[];
  host?: string;
  image?: string;
  group?: string;
  vpc?: string;
  subnet?: string;
  securityGroup?: string;
  tag?: string[];
}

export function addInstanceReads(instance: Command, io: Io): void {
  const state = oneOf(instanceStates);
  instance
    .command("list")
    .alias("ls")
    .description("list instances")
    .option("--state <state>", "in this state (repeatable)", (text, before: string[] | undefined) =>
      collect(state(text), before),
    )
    .option("--name <name>", "of this name (repeatable)", collect)
    .option("--type <type>", "of this instance type (repeatable)", collect)
    .option("--host <host>", "on this host")
    .option("--image <image>", "from this image")
    .option("--group <group>", "in this disaster-recover group")
    .option("--vpc <vpc>", "in this VPC")
    .option("--subnet <subnet>", "in this subnet")
    .option("--security-group <group>", "in this security group")
    .option("--tag <key[=value]>", "with this tag (repeatable)", collect)
    .action(async (flags: ListFlags, command: Command) => instanceList(contextOf(io, command), flags));

  instance
    .command("show")
    .argument("<instance>", "id or name")
    .description("show an instance and its latest operation")
    .action(async (given: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "instance", given);
      const found = await context.client.call("instanceGet", { params: { id } });
      context.print(found, () => instanceText(found));
    });
}

async function instanceList(context: Context, flags: ListFlags): Promise<void> {
  const { client } = context;
  const filter: InstanceFilter = {
    state: flags.state as InstanceFilter["state"],
    name: flags.name,
    instanceType: flags.type,
    tag: flags.tag,
    hostId: flags.host === undefined ? undefined : [await idOf(client, "host", flags.host)],
    imageId: flags.image === undefined ? undefined : [await idOf(client, "image", flags.image)],
    groupId: flags.group === undefined ? undefined : [await idOf(client, "group", flags.group)],
    vpcId: flags.vpc === undefined ? undefined : [await idOf(client, "vpc", flags.vpc)],
    subnetId: flags.subnet === undefined ? undefined : [await idOf(client, "subnet", flags.subnet)],
    securityGroupId:
      flags.securityGroup === undefined ? undefined : [await idOf(client, "securityGroup", flags.securityGroup)],
  };
  const instances = await listAll(client, "instance", filter);
  const hosts = context.json ? [] : await listAll(client, "host");
  context.print({ total: instances.length, instances }, () => instanceTable(context, instances, hosts));
}

function instanceTable(
  context: Context,
  instances: readonly InstanceWire[],
  hosts: readonly { id: string; name: string }[],
): string {
  const names = new Map(hosts.map(({ id, name }) => [id, name]));
  const now = context.io.now();
  const rows = table(
    [
      { title: "ID", value: ({ id }) => id },
      { title: "NAME", value: ({ name }) => name },
      { title: "STATE", value: stateText, paint: paintState(context.io) },
      { title: "TYPE", value: ({ instanceType }) => instanceType },
      { title: "ADDRESS", value: ({ ip }) => ip },
      { title: "HOST", value: (one) => (one.hostId === null ? null : (names.get(one.hostId) ?? one.hostId)) },
      { title: "AGE", value: (one) => age(one.createdAt, now) },
    ],
    instances,
  );
  const notes = instances
    .filter(({ attention }) => attention !== null)
    .map(({ id, attention }) => `${id}: ${printable(attention ?? "")}\n`);
  return notes.length === 0 ? rows : `${rows}\n${notes.join("")}`;
}

const outsideKinds = { eip: "elastic address", wan: "came with it" } as const;

function instanceText(one: InstanceWire): string {
  const operation = one.latestOperation;
  const text = facts([
    ["id", one.id],
    ["name", one.name],
    ["state", stateText(one)],
    ["attention", one.attention],
    ["type", `${one.instanceType} (${one.vcpus} vCPUs, ${one.memoryMiB} MiB)`],
    ["image", one.imageId],
    ["address", one.ip],
    ["mac", one.mac],
    ["host", one.hostId],
    ["zone", one.zone],
    ["subnet", `${one.subnetId} in ${one.vpcId}`],
    ["security groups", one.securityGroupIds.join(", ")],
    ["outside", one.elastic === null ? null : `${one.elastic.ip} (${outsideKinds[one.elastic.kind]})`],
    ["system disk", `${one.systemDisk.id}, ${one.systemDisk.sizeGiB} GiB`],
    ["keys", one.keyIds.join(", ")],
    ["group", one.groupId],
    ["user data", one.hasUserData ? "yes" : "no"],
    ["restart policy", one.restartPolicy],
    ["protected", one.terminationProtection ? "yes" : "no"],
    [
      "tags",
      Object.entries(one.tags)
        .map(([key, value]) => `${key}=${value}`)
        .join(", "),
    ],
    ["created", one.createdAt],
    ["incarnation", `${one.incarnation}, epoch ${one.epoch}, generation ${one.generation}`],
    ["uuid", one.uuid],
    ["account", one.accountId],
  ]);
  return operation === null ? text : `${text}\n${operationSteps(operation)}`;
}
