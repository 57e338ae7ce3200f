/**
 * The floor: the same guest as a stopped instance's, started by hand on the same host, with disk, seed and tap made ready before the
 * clock runs. It takes the instance's own address and MAC, so that the host's DHCP and the tunnels serve it as they serve
 * the instance.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { run } from "../../lab/run.ts";
import type { InstanceWire } from "../../src/api/native/resources.ts";
import { bridgeName } from "../../src/compute/network/names.ts";
import type { LabHost } from "../lab-session.ts";
import { bareCommand, lastCommand } from "./qemu-log.ts";

const imageSchema = z.looseObject({
  "virtual-size": z.int(),
  "full-backing-filename": z.string(),
  "backing-filename-format": z.string(),
});

export interface BareGuest {
  start(): void;
  /** The file that its serial console writes. */
  readonly console: string;
  /** Rejects when QEMU ends before it was asked to. */
  readonly died: Promise<never>;
  /** QEMU's process, as the machine numbers it. */
  pid(): number;
  /** Ends QEMU and removes everything that was made for it. */
  end(): Promise<void>;
}

/** Makes everything ready; `instance` is stopped and stays so. `tag` tells several at once apart. */
export async function prepareBare(host: LabHost, instance: InstanceWire, tag: string): Promise<BareGuest> {
  const folder = join(host.dir, "state/instances", instance.id);
  const dir = join(host.dir, `bare-${tag}`);
  const tap = `bare-${tag}`;
  const disk = `${instance.systemDisk.id}.qcow2`;
  const name = `bare-${tag}`;
  mkdirSync(dir);
  const info = imageSchema.parse(JSON.parse(await run("qemu-img", ["info", "--output=json", join(folder, disk)])));
  const backing = ["-b", info["full-backing-filename"], "-F", info["backing-filename-format"]];
  await run("qemu-img", ["create", "-q", "-f", "qcow2", ...backing, join(dir, disk), String(info["virtual-size"])]);
  copyFileSync(join(folder, "seed.img"), join(dir, "seed.img"));
  await host.run(["ip", "tuntap", "add", "dev", tap, "mode", "tap"]);
  await host.run(["ip", "link", "set", "dev", tap, "master", bridgeName(instance.subnetId), "up"]);

  const logged = lastCommand(host.guestLog(instance.id));
  const replace = new Map([
    [folder, dir],
    [logged.env["HOME"] ?? folder, dir],
  ]);
  const command = bareCommand(logged, { dir, tap, name, replace });
  const [program, ...args] = host.inside(command);
  let child: ChildProcess | undefined;
  const { promise: died, reject } = Promise.withResolvers<never>();
  died.catch(() => undefined);
  const qemu = (): number | undefined => host.qemus().find((each) => each.guest === name)?.pid;
  return {
    died,
    console: join(dir, "charserial0.log"),
    start: () => {
      child = spawn(program, args, { stdio: ["ignore", "ignore", "pipe"], env: { ...logged.env, HOME: dir } });
      let complaint = "";
      child.stderr?.on("data", (part: Buffer) => (complaint += part.toString()));
      child.once("close", () => reject(new Error(`the bare guest ended: ${complaint.trim()}`)));
    },
    pid: () => {
      const pid = qemu();
      if (pid === undefined) throw new Error("the bare guest does not run");
      return pid;
    },
    end: async () => {
      const pid = qemu();
      if (pid !== undefined) process.kill(pid, "SIGKILL");
      if (child !== undefined && child.exitCode === null && child.signalCode === null) await once(child, "close");
      await host.run(["ip", "link", "delete", tap]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}
