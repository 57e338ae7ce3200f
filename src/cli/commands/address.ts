/** `address`: elastic addresses, which are reached from outside. */
import { randomUUID } from "node:crypto";
import type { Command } from "commander";
import type { Io } from "../io.ts";
import { idOf, idsOf } from "../resolve.ts";
import { addKind } from "./network-kind.ts";
import { contextOf, wholeNumber } from "./shared.ts";

interface AllocateFlags {
  count: number;
  name?: string;
  mbps?: number;
}

export function addAddress(program: Command, io: Io): void {
  const address = addKind(program, io, {
    kind: "elasticAddress",
    word: "address",
    about: "elastic addresses: where instances are reached from outside",
    columns: async () => [
      { title: "ADDRESS", value: ({ ip }) => ip },
      { title: "KIND", value: ({ kind }) => (kind === "wan" ? "goes with its instance" : "your own") },
      { title: "INSTANCE", value: ({ instanceId }) => instanceId },
      { title: "INSIDE", value: ({ privateIp }) => privateIp },
    ],
    rename: (client, id, name) => client.call("elasticAddressModify", { params: { id }, request: { name } }),
    end: {
      verb: "release",
      description: "give back addresses that no instance has; somebody else may get them next",
      call: (client, id) => client.call("elasticAddressRelease", { params: { id } }),
    },
  });

  address
    .command("allocate")
    .description("take addresses of your own from the zone's pool")
    .option("--count <n>", "how many", wholeNumber(1, 20), 1)
    .option("--name <name>", "name of each")
    .option("--mbps <n>", "kept and shown; nothing is slowed down to it", wholeNumber(1, 65_535))
    .action(async ({ count, name, mbps }: AllocateFlags, command: Command) => {
      const context = contextOf(io, command);
      const request = { count, name, bandwidthMbps: mbps, clientToken: randomUUID() };
      const made = await context.client.call("elasticAddressAllocate", { request });
      context.print(made, () => made.elasticAddresses.map(({ id, ip }) => `${id}  ${ip}\n`).join(""));
    });

  address
    .command("attach")
    .argument("<address>", "id, name or the address itself")
    .requiredOption("--to <instance>", "id or name of the instance; it may have one such address")
    .description("let an instance be reached by an address from outside, and reach the outside by it")
    .action(async (given: string, flags: { to: string }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "elasticAddress", given);
      const instanceId = await idOf(context.client, "instance", flags.to);
      const changed = await context.client.call("elasticAddressAttach", { params: { id }, request: { instanceId } });
      context.print(changed, () => `${changed.ip} is ${instanceId}'s\n`);
    });

  address
    .command("detach")
    .argument("<address...>", "ids, names or the addresses themselves")
    .description("take addresses from their instances; they stay yours")
    .action(async (given: string[], _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "elasticAddress", given);
      for (const id of ids) await context.client.call("elasticAddressDetach", { params: { id } });
      context.print({ detached: ids }, () => `detached ${ids.join(", ")}\n`);
    });
}
