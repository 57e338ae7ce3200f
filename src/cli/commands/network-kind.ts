/** What the commands of every kind of network thing have in common: to list, to rename, and to end. */
import type { Command } from "commander";
import type { NativeClient } from "../../api/native/client.ts";
import { kindPlural, type Id } from "../../lib/ids.ts";
import type { Context } from "../context.ts";
import type { Io } from "../io.ts";
import { idOf, idsOf, listAll, listDocument, type Item } from "../resolve.ts";
import { age, table, type Column } from "../table.ts";
import { confirmed, contextOf } from "./shared.ts";

export type NetworkKind = "vpc" | "subnet" | "routeTable" | "natGateway" | "securityGroup" | "elasticAddress";

interface Kind<K extends NetworkKind> {
  kind: K;
  /** The command, and the name of its argument. */
  word: string;
  about: string;
  /** Its list may be that of one VPC. */
  inVpc?: true;
  /** Those between id and name, which stand in front, and the age. */
  columns: (context: Context) => Promise<readonly Column<Item<K>>[]>;
  rename?: (client: NativeClient, id: Id<K>, name: string) => Promise<unknown>;
  end: { verb: "delete" | "release"; description: string; call: (client: NativeClient, id: Id<K>) => Promise<unknown> };
}

interface Thing {
  id: string;
  name: string;
  createdAt: string;
}

/** The kind's command with what is common; what is its own is added to it. */
export function addKind<K extends NetworkKind>(program: Command, io: Io, spec: Kind<K>): Command {
  const { kind, word, rename, end } = spec;
  const parent = program.command(word).description(spec.about);

  const list = parent
    .command("list")
    .alias("ls")
    .description(`list ${kindPlural(kind)}, oldest first`);
  if (spec.inVpc === true) list.option("--vpc <vpc>", "in this VPC");
  list.action(async (flags: { vpc?: string }, command: Command) => {
    const context = contextOf(io, command);
    const { client } = context;
    const filter = flags.vpc === undefined ? {} : { vpcId: [await idOf(client, "vpc", flags.vpc)] };
    const items = (await listAll(client, kind, filter as never)) as (Item<K> & Thing)[];
    const between = context.json ? [] : await spec.columns(context);
    const now = io.now();
    context.print(listDocument(kind, items), () =>
      table(
        [
          { title: "ID", value: ({ id }) => id },
          { title: "NAME", value: ({ name }) => name },
          ...between,
          { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
        ],
        items,
      ),
    );
  });

  if (rename !== undefined) {
    parent
      .command("rename")
      .argument(`<${word}>`, "id or name")
      .argument("<name>", "new name")
      .description("change its name")
      .action(async (given: string, name: string, _flags: unknown, command: Command) => {
        const context = contextOf(io, command);
        const id = await idOf(context.client, kind, given);
        const changed = await rename(context.client, id, name);
        context.print(changed, () => `${id} is changed\n`);
      });
  }

  const ending = parent.command(end.verb).argument(`<${word}...>`, "ids or names").description(end.description);
  if (end.verb === "delete") ending.alias("rm");
  ending
    .option("-y, --yes", "do not ask")
    .action(async (given: string[], flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, kind, given);
      const question = `${end.verb === "delete" ? "Delete" : "Release"} ${given.join(", ")}?`;
      await confirmed(context, flags.yes, question);
      for (const id of ids) await end.call(context.client, id);
      context.print({ [`${end.verb}d`]: ids }, () => `${end.verb}d ${ids.join(", ")}\n`);
    });
  return parent;
}
