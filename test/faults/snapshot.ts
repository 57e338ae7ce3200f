/**
 * Everything that an instance may leave behind on the hosts, by the kernel's and the disk's own word: processes, links, tunnel and
 * neighbour entries, mounts, files, definitions, files that are gone but still open, and the capacity that VStation counts.
 * Two snapshots are equal when nothing leaked in between; each line says by itself what it is.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import type { LabHost, LabSession } from "../../bench/lab-session.ts";
import { processesInside } from "../../lab/processes.ts";
import { expectThat, until } from "../until.ts";

export async function snapshot(lab: LabSession): Promise<string[]> {
  const lines: string[] = [];
  for (const host of lab.hosts) lines.push(...hostLines(host).map((line) => `${host.name}: ${line}`));
  for (const { name, used } of await lab.cloud.hosts()) lines.push(`${name}: VStation counts ${JSON.stringify(used)}`);
  for (const { id } of await lab.cloud.instances()) lines.push(`instance ${id}`);
  for (const folder of ["disks", "snapshots"]) lines.push(...sharedFiles(join(lab.lab.home.sharedDir, folder)));
  return lines.toSorted();
}

function sharedFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder).map((name) => `shared file ${name}`);
}

/** Waits until the hosts are as they were before. */
export async function untilNothingIsLeft(lab: LabSession, before: readonly string[]): Promise<void> {
  await until(
    "nothing is left",
    async () => {
      const left = differencesOf(before, await snapshot(lab));
      expectThat(left.length === 0, left.join("\n"));
      return true;
    },
    60_000,
  );
}

/** What is in one and not in the other, for people. */
export function differencesOf(before: readonly string[], after: readonly string[]): string[] {
  const [had, has] = [new Set(before), new Set(after)];
  return [
    ...after.filter((line) => !had.has(line)).map((line) => `left: ${line}`),
    ...before.filter((line) => !has.has(line)).map((line) => `lost: ${line}`),
  ];
}

function hostLines(host: LabHost): string[] {
  const inside = (...command: string[]): string[] => {
    const [program, ...args] = host.inside(command);
    return execFileSync(program, args, { encoding: "utf8" })
      .split("\n")
      .map((line) => line.trim())
      .filter((line) => line !== "");
  };
  return [
    ...longLived(host),
    ...inside("ip", "-br", "link").map((line) => `link ${line.split(/[\s@]/)[0]}`),
    ...inside("bridge", "fdb", "show")
      .filter((line) => line.includes(" dst "))
      .map((line) => `tunnel ${line}`),
    ...inside("ip", "neighbour", "show", "nud", "permanent").map((line) => `neighbour ${line}`),
    ...readFileSync(`/proc/${host.init}/mounts`, "utf8")
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => `mount ${line}`),
    ...["state", "var/lib", "etc/libvirt/qemu"].flatMap((folder) => files(host.dir, folder)),
    ...runFiles(host),
  ];
}

/** Programs that live as long as something of an instance does. Helpers of a moment (ip, nft) come and go. */
function longLived(host: LabHost): string[] {
  const qemus = host.qemus().map(({ guest }) => `process QEMU ${guest}`);
  const all = processesInside(host.init);
  const dnsmasqs = all.filter(({ command }) => command[0]?.endsWith("dnsmasq") === true).length;
  return [...qemus, `${dnsmasqs} processes dnsmasq`, ...all.flatMap(({ pid }) => deletedFiles(pid, host.dir))];
}

function deletedFiles(pid: number, dir: string): string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`)
      .map((fd) => readlinkSync(`/proc/${pid}/fd/${fd}`))
      .filter((file) => file.startsWith(dir) && file.endsWith(" (deleted)"))
      .map((file) => `open though deleted: ${file}`);
  } catch {
    return []; // it ended while it was looked at
  }
}

/** All but what VStation wants: that an instance shall be gone is remembered until VStation has stopped naming it. */
function files(dir: string, folder: string): string[] {
  return readdirSync(join(dir, folder), { recursive: true, encoding: "utf8" })
    .filter((name) => /ins-|domain-|disk-|snap-|job-/.test(name) && !name.startsWith("wanted/"))
    .map((name) => `file ${join(folder, name)}`);
}

/** /run is the host's own tmpfs: reached through its PID 1. */
function runFiles(host: LabHost): string[] {
  const root = `/proc/${host.init}/root/run`;
  return ["libvirt", "vstation"].flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => /ins-|domain-/.test(name))
      .map((name) => `file /run/${folder}/${name}`),
  );
}
