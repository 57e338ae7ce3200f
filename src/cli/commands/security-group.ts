/** `security-group`: what may reach instances and what they may reach. A rule is named by what it says, never by a number that moves. */
import { InvalidArgumentError, type Command } from "commander";
import type { NativeClient } from "../../api/native/client.ts";
import type { SecurityGroupRulesWire, SecurityRuleWire } from "../../api/native/security-groups.ts";
import { isIp, blockText, looseBlock, parseBlock } from "../../core/addresses.ts";
import { failure } from "../../core/failure-codes.ts";
import {
  findPolicies,
  parsePorts,
  policyProtocols,
  portsForm,
  portsText,
  type Policy,
  type PolicyDirection,
  type PolicyProtocol,
  type PortRange,
} from "../../core/security-policy.ts";
import type { SecurityGroupId } from "../../lib/ids.ts";
import type { Context } from "../context.ts";
import { usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { idOf, listAll } from "../resolve.ts";
import { facts, table } from "../table.ts";
import { addKind } from "./network-kind.ts";
import { collect, contextOf, oneOf, wholeNumber } from "./shared.ts";

export function addSecurityGroup(program: Command, io: Io): void {
  const group = addKind(program, io, {
    kind: "securityGroup",
    word: "security-group",
    about: "what may reach instances, and what they may reach",
    columns: async () => [
      { title: "DESCRIPTION", value: ({ description }) => description },
      { title: "DEFAULT", value: ({ isDefault }) => (isDefault ? "yes" : null) },
    ],
    rename: (client, id, name) => client.call("securityGroupModify", { params: { id }, request: { name } }),
    end: {
      verb: "delete",
      description: "delete groups in which no instance is and that no other group's rule names",
      call: (client, id) => client.call("securityGroupDelete", { params: { id } }),
    },
  });

  group
    .command("show")
    .argument("<security-group>", "id or name")
    .description("show a group, its rules in their order, and who is in it")
    .action(async (given: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "securityGroup", given);
      await print(context, await context.client.call("securityGroupGet", { params: { id } }));
    });

  group
    .command("create")
    .argument("<name>", "name of the new group")
    .option("--description <text>", "up to 100 characters")
    .description("make a group; nothing passes it, in or out, until `allow` says so")
    .action(async (name: string, flags: { description?: string }, command: Command) => {
      const context = contextOf(io, command);
      const made = await context.client.call("securityGroupCreate", { request: { name, ...flags } });
      context.print(made, () => `${made.id}\n`);
      context.say("nothing passes it yet: `./vstation security-group allow` lets in with --from, out with --to");
    });

  addition(group, io, "allow", "let something pass; behind the rules that are there");
  addition(
    group,
    io,
    "refuse",
    "let something not pass that a later rule allows; in front of the rules that are there",
  );

  ruleOptions(group.command("remove"))
    .description("take away rules that say this, whether they allow or refuse it")
    .action(async (given: string, traffic: Traffic, flags: RuleFlags, command: Command) => {
      const context = contextOf(io, command);
      const { client } = context;
      const id = await idOf(client, "securityGroup", given);
      const { direction, rules } = await rulesOf(client, traffic, flags);
      const present = (await client.call("securityGroupGet", { params: { id } }))[direction].map(policyOf);
      const named = rules.flatMap((rule) => {
        const both = (["accept", "drop"] as const).map((action) => ({ ...rule, action }));
        const there = both.filter((one) => findPolicies(present, [policyOf(one)]) !== undefined);
        if (there.length === 0) throw failure("PolicyNotFound", `security group ${id} has no such rule`);
        return there;
      });
      await print(
        context,
        await client.call("securityGroupRemoveRules", { params: { id }, request: { direction, rules: named } }),
      );
    });
}

/** Who speaks to whom over what, before it is said whether they may. */
interface Traffic {
  protocol: PolicyProtocol;
  ports: PortRange[] | null;
}
type Peer = SecurityRuleWire["peer"];
interface Rule extends Traffic {
  peer: Peer;
  description?: string;
}
interface RuleFlags {
  from?: string[];
  to?: string[];
  description?: string;
  at?: number;
}

function ruleOptions(command: Command): Command {
  return command
    .argument("<security-group>", "id or name")
    .argument("<what>", "all, icmp, gre, tcp, udp, or with ports: tcp:22, tcp:80,443, udp:5000-5010", trafficOf)
    .option("--from <whom>", "in: an address, a block, `anywhere`, or a security group (repeatable)", collect)
    .option("--to <whom>", "out: the same of the other side (repeatable)", collect);
}

function addition(group: Command, io: Io, verb: "allow" | "refuse", description: string): void {
  ruleOptions(group.command(verb))
    .option("--at <n>", "in front of the rule that `show` has there", wholeNumber(0, 100))
    .option("--description <text>", "up to 100 characters")
    .description(description)
    .action(async (given: string, traffic: Traffic, flags: RuleFlags, command: Command) => {
      const context = contextOf(io, command);
      const { client } = context;
      const id = await idOf(client, "securityGroup", given);
      const { direction, rules } = await rulesOf(client, traffic, flags);
      const action = verb === "allow" ? ("accept" as const) : ("drop" as const);
      const request = {
        direction,
        rules: rules.map((rule) => ({ ...rule, action })),
        position: flags.at ?? (verb === "allow" ? null : 0),
      };
      await print(context, await client.call("securityGroupAddRules", { params: { id }, request }));
    });
}

function trafficOf(text: string): Traffic {
  const [word = "", ...rest] = text.split(":");
  const protocol = oneOf(policyProtocols)(word);
  if (rest.length === 0) return { protocol, ports: null };
  if (protocol !== "tcp" && protocol !== "udp") throw new InvalidArgumentError("only tcp and udp have ports");
  const ports = parsePorts(rest.join(":"));
  if (ports === undefined) throw new InvalidArgumentError(`ports are ${portsForm}`);
  return { protocol, ports };
}

/** One rule for each other side; the direction is that of the option. */
async function rulesOf(
  client: NativeClient,
  traffic: Traffic,
  { from = [], to = [], description }: RuleFlags,
): Promise<{ direction: PolicyDirection; rules: Rule[] }> {
  if ((from.length === 0) === (to.length === 0))
    throw usageError("give --from for what comes in, or --to for what goes out");
  const direction = from.length > 0 ? "ingress" : "egress";
  const rules: Rule[] = [];
  for (const whom of [...from, ...to]) {
    const peer = await peerOf(client, whom);
    rules.push({ ...traffic, peer, ...(description === undefined ? {} : { description }) });
  }
  return { direction, rules };
}

async function peerOf(client: NativeClient, whom: string): Promise<Peer> {
  if (whom === "anywhere") return { cidr: "0.0.0.0/0" };
  if (isIp(whom) || parseBlock(whom) !== undefined) return { cidr: whom };
  const meant = looseBlock(whom);
  if (meant !== undefined) throw usageError(`${whom} names one address and many: is ${blockText(meant)} meant?`);
  return { securityGroupId: await idOf(client, "securityGroup", whom) };
}

/** As the rules of src/core compare it. */
function policyOf({ peer, action, protocol, ports }: Rule & Pick<Policy, "action">): Policy {
  const other = "cidr" in peer ? peer : { groupId: peer.securityGroupId };
  return { action, protocol, ports, peer: other, description: "" };
}

async function print(context: Context, group: SecurityGroupRulesWire): Promise<void> {
  const named = [...group.ingress, ...group.egress].some(({ peer }) => "securityGroupId" in peer);
  const groups = context.json || !named ? [] : await listAll(context.client, "securityGroup");
  const names = new Map(groups.map(({ id, name }) => [id, name]));
  context.print(group, () =>
    [
      facts([
        ["id", group.id],
        ["name", group.name],
        ["description", group.description],
        ["instances", group.uses.instances],
        ["groups naming it", group.uses.groups],
        ["created", group.createdAt],
        ["account", group.accountId],
      ]),
      ruleTable("in", "FROM", group.ingress, names),
      ruleTable("out", "TO", group.egress, names),
    ].join("\n"),
  );
}

function ruleTable(
  direction: string,
  side: string,
  rules: readonly SecurityRuleWire[],
  names: ReadonlyMap<SecurityGroupId, string>,
): string {
  if (rules.length === 0) return `${direction}: nothing passes\n`;
  const rows = table(
    [
      { title: "AT", value: ({ at }) => at },
      { title: "RULE", value: ({ action }) => (action === "accept" ? "allow" : "refuse") },
      {
        title: "WHAT",
        value: ({ protocol, ports }) => (ports === null ? protocol : `${protocol}:${portsText(ports)}`),
      },
      { title: side, value: ({ peer }) => peerText(peer, names) },
      { title: "DESCRIPTION", value: ({ description }) => description },
    ],
    rules.map((rule, at) => ({ ...rule, at })),
  );
  return `${direction}: the first that matches decides, what none matches does not pass\n${rows}`;
}

function peerText(peer: Peer, names: ReadonlyMap<SecurityGroupId, string>): string {
  if ("cidr" in peer) return peer.cidr === "0.0.0.0/0" ? "anywhere" : peer.cidr;
  const name = names.get(peer.securityGroupId);
  return name === undefined ? peer.securityGroupId : `${name} (${peer.securityGroupId})`;
}
