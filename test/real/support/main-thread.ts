/**
 * Keeps the main thread of a guest's QEMU busy, with QEMU's lock in its hand, as it is where it needs memory of a guest in two halves that is not
 * there: it is told to write to a pipe that nobody reads. libvirt's monitor is used for that, so libvirtd is away meanwhile.
 */
import { readdirSync } from "node:fs";
import { createConnection, type Socket } from "node:net";
import { join } from "node:path";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { sleep } from "../../../src/lib/retry.ts";
import { until } from "../../until.ts";
import type { Place } from "./move.ts";

const pipe = "/var/lib/libvirt/qemu/dump/unread";
/** Longer than a main thread that is free takes for anything. */
const silenceMs = 1_000;

export class MainThread {
  readonly #place: Place;
  readonly #monitor: Socket;
  #said = "";

  private constructor(place: Place, monitor: Socket) {
    this.#place = place;
    this.#monitor = monitor;
    monitor.on("data", (data: Buffer) => (this.#said += data.toString()));
    monitor.on("error", () => {});
  }

  static async hold(place: Place, id: InstanceId): Promise<MainThread> {
    const { host } = place;
    await host.signalLibvirtd("SIGKILL");
    host.sh(`mkfifo -m 666 ${pipe}`);
    const folder = join(host.dir, "lib/qemu");
    const [domain = ""] = readdirSync(folder).filter((name) => name.endsWith(`-${id}`));
    const thread = new MainThread(place, createConnection(join(folder, domain, "monitor.sock")));
    thread.#tell("qmp_capabilities", {});
    await until("QEMU to answer", () => thread.#answers() > 0);
    thread.#tell("pmemsave", { val: 0, size: 4096, filename: pipe });
    await sleep(silenceMs);
    if (thread.isFree) throw new Error(`QEMU's main thread is not held: ${thread.#said}`);
    return thread;
  }

  get isFree(): boolean {
    return this.#answers() > 1;
  }

  async release(): Promise<void> {
    const { host } = this.#place;
    host.sh(`timeout 10 cat ${pipe} > /dev/null; rm ${pipe}`);
    await until("QEMU to be done", () => this.isFree);
    this.#monitor.destroy();
    await host.startLibvirtd();
  }

  #tell(command: string, args: Record<string, unknown>): void {
    this.#monitor.write(`${JSON.stringify({ execute: command, arguments: args, id: "main-thread" })}\n`);
  }

  #answers(): number {
    return this.#said.split('"main-thread"').length - 1;
  }
}
