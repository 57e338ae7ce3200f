/** `type`, `key` and `group`: what instances are made of, beside images (image.ts). */
import { rmSync, writeFileSync } from "node:fs";
import type { Command } from "commander";
import { publicKeyLength } from "../../api/native/requests.ts";
import { usageError } from "../exit.ts";
import type { Io } from "../io.ts";
import { openNew } from "../new-file.ts";
import { idOf, idsOf, listAll } from "../resolve.ts";
import { readSmall } from "../small-file.ts";
import { age, table } from "../table.ts";
import { addImage } from "./image.ts";
import { confirmed, contextOf, wholeNumber } from "./shared.ts";

export function addCatalogue(program: Command, io: Io): void {
  addImage(program, io);
  addType(program, io);
  addKey(program, io);
  addGroup(program, io);
}

function addType(program: Command, io: Io): void {
  program
    .command("type")
    .description("sizes of instances")
    .command("list")
    .alias("ls")
    .description("list instance types and how many more of each would fit now")
    .option("--fits", "only those of which at least one fits")
    .action(async (flags: { fits?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const { zone, instanceTypes } = await context.client.call("instanceTypeList", {});
      const shown = flags.fits === true ? instanceTypes.filter(({ room }) => room > 0) : instanceTypes;
      context.print({ zone, total: shown.length, instanceTypes: shown }, () =>
        table(
          [
            { title: "TYPE", value: ({ name }) => name },
            { title: "VCPUS", value: ({ vcpus }) => vcpus },
            { title: "MEMORY GiB", value: ({ memoryGiB }) => memoryGiB },
            { title: "GBIT/S", value: ({ bandwidthGbps }) => bandwidthGbps },
            { title: "KPPS", value: ({ kpps }) => kpps },
            { title: "ROOM", value: ({ room }) => room },
          ],
          shown,
        ),
      );
    });
}

function addKey(program: Command, io: Io): void {
  const key = program.command("key").description("key pairs for logging in to guests");

  key
    .command("list")
    .alias("ls")
    .description("list key pairs")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const keys = await listAll(context.client, "key");
      const now = io.now();
      context.print({ total: keys.length, keys }, () =>
        table(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            { title: "KIND", value: ({ publicKey }) => publicKey.split(" ")[0] ?? null },
            { title: "INSTANCES", value: ({ instanceIds }) => instanceIds.length },
            { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
          ],
          keys,
        ),
      );
    });

  key
    .command("create")
    .argument("<name>", "name of the new key pair")
    .description("make a key pair; the private half is shown this once and stored nowhere else")
    .option("--out <file>", "write the private key there (mode 0600) instead of standard output")
    .action(async (name: string, flags: { out?: string }, command: Command) => {
      const context = contextOf(io, command);
      // Before the key is made: a private key that cannot be put down is lost.
      const file = flags.out === undefined ? undefined : openNew(flags.out);
      const made = await context.client.call("keyCreate", { request: { name } }).catch((error: unknown) => {
        if (flags.out !== undefined) rmSync(flags.out);
        throw error;
      });
      if (file !== undefined) writeFileSync(file, made.privateKey);
      const document = flags.out === undefined ? made : { key: made.key, privateKeyFile: flags.out };
      context.print(document, () =>
        flags.out === undefined ? made.privateKey : `${made.key.id}: private key in ${flags.out}\n`,
      );
      if (flags.out === undefined) context.say(`${made.key.id}: keep the private key, it is not stored`);
    });

  key
    .command("import")
    .argument("<name>", "name of the key pair")
    .argument("<file>", "public key file such as ~/.ssh/id_ed25519.pub; - reads standard input")
    .description("take in a public key")
    .action(async (name: string, file: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const publicKey = readSmall(file, publicKeyLength).toString().trim();
      if (publicKey.includes("PRIVATE KEY")) throw usageError(`${file} is a private key: give the .pub file`);
      const made = await context.client.call("keyImport", { request: { name, publicKey } });
      context.print(made, () => `${made.id}\n`);
    });

  key
    .command("delete")
    .alias("rm")
    .argument("<key...>", "ids or names")
    .description("delete key pairs that no instance uses")
    .option("-y, --yes", "do not ask")
    .action(async (given: string[], flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "key", given);
      await confirmed(context, flags.yes, `Delete ${given.join(", ")}?`);
      for (const id of ids) await context.client.call("keyDelete", { params: { id } });
      context.print({ deleted: ids }, () => `deleted ${ids.join(", ")}\n`);
    });
}

function addGroup(program: Command, io: Io): void {
  const group = program.command("group").description("disaster-recover groups: members run on different hosts");

  group
    .command("list")
    .alias("ls")
    .description("list groups")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const groups = await listAll(context.client, "group");
      context.print({ total: groups.length, groups }, () =>
        table(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            { title: "TYPE", value: ({ type }) => type },
            { title: "AFFINITY", value: ({ affinity }) => affinity },
            { title: "INSTANCES", value: ({ instanceIds }) => instanceIds.length },
            { title: "CAPACITY", value: ({ capacity }) => capacity },
          ],
          groups,
        ),
      );
    });

  group
    .command("create")
    .argument("<name>", "name of the new group")
    .description("make a group")
    .option("--affinity <n>", "members allowed on one host", wholeNumber(1, 10), 1)
    .action(async (name: string, flags: { affinity: number }, command: Command) => {
      const context = contextOf(io, command);
      const made = await context.client.call("groupCreate", { request: { name, affinity: flags.affinity } });
      context.print(made, () => `${made.id}\n`);
    });

  group
    .command("delete")
    .alias("rm")
    .argument("<group>", "id or name")
    .description("delete an empty group")
    .option("-y, --yes", "do not ask")
    .action(async (given: string, flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "group", given);
      await confirmed(context, flags.yes, `Delete ${given}?`);
      await context.client.call("groupDelete", { params: { id } });
      context.print({ deleted: [id] }, () => `deleted ${id}\n`);
    });
}
