/** `host add`, `host remove`, `host cordon`: how a machine becomes a host, how it stops being one, and how it takes nothing new. */
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Command } from "commander";
import type { RouteAnswer } from "../../api/native/routes.ts";
import type { Io } from "../io.ts";
import { idOf } from "../resolve.ts";
import { confirmed, contextOf } from "./shared.ts";

type Invitation = RouteAnswer<"hostInvite">;

const installer = join(import.meta.dirname, "../../../packaging/host/install.sh");

export function addHostMembership(host: Command, io: Io): void {
  host
    .command("add")
    .argument("<name>", "name of the new host, unique in the zone")
    .description("print the line that makes a machine a host; good once, for an hour")
    .option("--again", "for a host that has joined before and lost its certificate")
    .option("--address <ip>", "the machine's address in the underlay; else the one by which it reaches VStation")
    .option("--file <file>", "write it as a program to copy to the machine, which then needs neither curl nor wget")
    .action(async (name: string, flags: { again?: boolean; address?: string; file?: string }, command: Command) => {
      const context = contextOf(io, command);
      const invitation = await context.client.call("hostInvite", { request: { name, again: flags.again === true } });
      const args = installArguments(invitation, flags.address);
      const line = installLine(invitation, args);
      if (flags.file !== undefined) {
        writeFileSync(flags.file, `#!/bin/sh\nset -- ${args}\n${readFileSync(installer, "utf8")}`, { mode: 0o700 });
      }
      context.print({ ...invitation, line }, () =>
        flags.file === undefined
          ? `On ${name}, a Debian 12 or 13, as root, before ${invitation.expiresAt}:\n\n${line}\n\nThen \`vstation host list\` shows it.\n`
          : `Copy ${flags.file} to ${name}, a Debian 12 or 13, and run it there as root before ${invitation.expiresAt}.\n`,
      );
    });

  host
    .command("remove")
    .alias("rm")
    .argument("<host>", "id or name")
    .description("take a host out that has no instances; it clears itself away")
    .option("--dead", "it is out of reach and will never run anything of ours again")
    .option("-y, --yes", "do not ask")
    .action(async (given: string, flags: { dead?: boolean; yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "host", given);
      await confirmed(context, flags.yes, `take ${given} out?`);
      const dead = flags.dead === true ? "true" : "false";
      const { told } = await context.client.call("hostRemove", { params: { id }, query: { dead } });
      context.print({ id, told }, () =>
        told
          ? `${given} is removed and clears itself away.\n`
          : `${given} is removed. It was out of reach: should it come back, it is told and clears itself away; by hand, on it, as root:\n\n` +
            "  sh /opt/vstation/current/packaging/host/uninstall.sh\n",
      );
    });

  for (const [verb, cordoned, description] of [
    ["cordon", true, "place nothing new on a host"],
    ["uncordon", false, "place on a host again"],
  ] as const) {
    host
      .command(verb)
      .argument("<host>", "id or name")
      .description(description)
      .action(async (given: string, _flags: unknown, command: Command) => {
        const context = contextOf(io, command);
        const id = await idOf(context.client, "host", given);
        const changed = await context.client.call("hostModify", { params: { id }, request: { cordoned } });
        context.print(changed, () => `${given} takes ${cordoned ? "nothing new" : "new instances again"}.\n`);
      });
  }
}

/** The CA as one word: its certificate without the lines around it. */
function caOf({ ca }: Invitation): string {
  return ca.replaceAll(/-----[^-]+-----|\s/g, "");
}

function installArguments(invitation: Invitation, address: string | undefined): string {
  const servers = invitation.servers.map((server) => `--server ${server}`).join(" ");
  const where = address === undefined ? "" : ` --address ${address}`;
  return `--name ${invitation.name} --token ${invitation.token} --ca ${caOf(invitation)} ${servers}${where}`;
}

/**
 * One line for a plain Debian, with curl or wget. The CA comes with it, so that not even the installer is taken from anybody else;
 * `fold` because a certificate's lines have 64 characters.
 */
function installLine(invitation: Invitation, args: string): string {
  const ca = caOf(invitation);
  const url = `https://${invitation.servers[0] ?? ""}/install`;
  const pem = `{ echo -----BEGIN CERTIFICATE-----; echo $b | fold -w64; echo -----END CERTIFICATE-----; } >$d/ca`;
  const curl = `curl -fsS --noproxy '*' --cacert $d/ca ${url}`;
  const wget = `wget -qO- --no-proxy --ca-certificate=$d/ca ${url}`;
  const get = `{ if command -v curl >/dev/null; then ${curl}; else ${wget}; fi; } >$d/install`;
  return `(b=${ca}; d=$(mktemp -d); trap 'rm -rf $d' EXIT; ${pem}; ${get} && sh $d/install ${args.replace(ca, "$b")})`;
}
