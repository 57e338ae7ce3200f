/** What is kept of a lab whose case failed: logs, the guests' own consoles, and how the network stood on each host. */
import { execFileSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Bed } from "./bed.ts";
import { root } from "./points.ts";

/** Copies it out of a home that is about to be removed; returns where to. */
export function keepLogs(bed: Bed, name: string): string {
  const to = join(root, "test/results/faults", name.replaceAll("/", "_"));
  copy(join(bed.lab.lab.home.path, "log"), join(to, "log"));
  for (const host of bed.lab.hosts) {
    copy(join(host.dir, "log"), join(to, host.name));
    copy(join(host.dir, "var/log"), join(to, host.name, "libvirt"));
    const instances = join(host.dir, "state/instances");
    for (const id of existsSync(instances) ? readdirSync(instances) : []) {
      copy(join(instances, id), join(to, host.name, "instances", id), (file) => !/\.(qcow2|iso)$/.test(file));
    }
    const init = bed.lab.lab.pidOf(host.name);
    if (init === undefined) continue;
    copy(`/proc/${init}/root/run/vstation/network`, join(to, host.name, "network"));
    writeFileSync(join(to, host.name, "network.txt"), network(init));
  }
  return to;
}

function copy(from: string, to: string, filter: (file: string) => boolean = () => true): void {
  mkdirSync(to, { recursive: true });
  if (existsSync(from)) cpSync(from, to, { recursive: true, filter });
}

/** In the host's own words, its routers' included. */
function network(init: number): string {
  const script = `ip addr; bridge fdb; ip neigh; nft list ruleset
    for name in $(ip netns list | cut -d' ' -f1); do echo "== $name"; ip -n "$name" addr; ip -n "$name" neigh; ip -n "$name" route; done`;
  try {
    return execFileSync("nsenter", ["-t", String(init), "-a", "sh", "-c", script], { encoding: "utf8" });
  } catch (error) {
    return String(error);
  }
}
