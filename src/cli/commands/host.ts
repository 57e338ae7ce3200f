/** `host list` and `host show`: what the zone stands on. */
import type { Command } from "commander";
import type { HostWire } from "../../api/native/resources.ts";
import type { Io } from "../io.ts";
import { paint } from "../io.ts";
import { idOf, listAll } from "../resolve.ts";
import { age, facts, pad, printable, table } from "../table.ts";
import { drainText, isDrained } from "../drain-wait.ts";
import { policyText } from "../migration-wait.ts";
import { addHostDrain } from "./host-drain.ts";
import { addHostMembership } from "./host-membership.ts";
import { contextOf, paintState } from "./shared.ts";

export function addHost(program: Command, io: Io): void {
  const host = program.command("host").description("the machines that instances run on");

  host
    .command("list")
    .alias("ls")
    .description("list hosts with the room they have")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const hosts = await listAll(context.client, "host");
      const now = io.now();
      context.print({ total: hosts.length, hosts }, () =>
        table<HostWire>(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            {
              title: "STATE",
              value: stateText,
              paint: paintState(io),
            },
            { title: "ACCEL", value: ({ readiness }) => readiness.accelerator },
            { title: "INSTANCES", value: ({ used }) => used.instances },
            { title: "VCPUS", value: (one) => `${one.used.vcpus}/${offered(one).vcpus}` },
            { title: "MEMORY MiB", value: (one) => `${one.used.memoryMiB}/${offered(one).memoryMiB}` },
            { title: "DISK GiB", value: (one) => `${one.used.diskGiB}/${one.inventory.diskGiB}` },
            { title: "SEEN", value: (one) => `${age(one.seenAt, now)} ago` },
          ],
          hosts,
        ),
      );
    });

  host
    .command("show")
    .argument("<host>", "id or name")
    .description("show a host: shape, versions, readiness")
    .option("--check", "run the readiness checks anew")
    .action(async (given: string, flags: { check?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "host", given);
      const found = await context.client.call("hostGet", { params: { id } });
      const checked = flags.check === true ? await context.client.call("hostReadiness", { params: { id } }) : undefined;
      const shown = checked === undefined ? found : { ...found, readiness: checked };
      context.print(shown, () => hostText(io, shown));
    });

  addHostMembership(host, io);
  addHostDrain(host, io);
}

/** With what a person has to know of it at a glance. */
function stateText({ state, cordoned, drain, readiness }: HostWire): string {
  const certificate = readiness.checks.some(({ name, level }) => name === "certificate" && level !== "ok");
  return [
    state,
    ...(drain === null ? (cordoned ? ["cordoned"] : []) : [isDrained(drain) ? "drained" : "draining"]),
    ...(certificate ? ["its certificate is not renewed"] : []),
  ].join(", ");
}

function offered(host: HostWire): { vcpus: number; memoryMiB: number } {
  const { inventory, overcommit } = host;
  return {
    vcpus: Math.floor(inventory.cores * overcommit.cpu),
    memoryMiB: Math.floor(inventory.memoryMiB * overcommit.memory),
  };
}

function hostText(io: Io, host: HostWire): string {
  const { inventory, overcommit, used, readiness, drain } = host;
  const { cpu, versions } = inventory;
  const offer = offered(host);
  const text = facts([
    ["id", host.id],
    ["name", host.name],
    ["state", stateText(host)],
    ["hostname", inventory.hostname],
    ["underlay", host.underlayAddress],
    ["accelerator", readiness.accelerator],
    ["cpu", `${cpu.model}: ${cpu.sockets} x ${cpu.coresPerSocket} x ${cpu.threadsPerCore} at ${cpu.mhz} MHz`],
    ["vcpus", `${used.vcpus} of ${offer.vcpus} (${inventory.cores} cores x ${overcommit.cpu})`],
    ["memory", `${used.memoryMiB} of ${offer.memoryMiB} MiB (${inventory.memoryMiB} MiB x ${overcommit.memory})`],
    ["disk", `${used.diskGiB} of ${inventory.diskGiB} GiB`],
    ["instances", used.instances],
    ["drain", drain === null ? null : `${drainText(drain)}; by the policy ${policyText(drain)}`],
    ["numa nodes", inventory.numa.length],
    ["compute", versions.compute],
    ["libvirt", versions.libvirt],
    ["qemu", versions.qemu],
    ["kernel", versions.kernel],
    ["node", versions.node],
    ["seen", host.seenAt],
    ["joined", host.joinedAt],
  ]);
  const names = Math.max(0, ...readiness.checks.map(({ name }) => name.length));
  const marks = { ok: "ok     ", warning: "warning", error: "ERROR  " } as const;
  const colors = { ok: "green", warning: "yellow", error: "red" } as const;
  const checks = readiness.checks.map(
    ({ level, name, message }) =>
      `  ${paint(io, colors[level], marks[level])}  ${pad(printable(name), names)}  ${printable(message)}\n`,
  );
  return `${text}\nreadiness\n${checks.join("")}`;
}
