/**
 * A guest of an image under plain QEMU, with nothing of VStation around it: the image's own tests, and the floor that benches
 * compare with. Network is QEMU's user mode: the guest is 10.0.2.15, its ports are forwarded to loopback ports of this machine, and
 * what it sends to 10.0.2.2 arrives on loopback.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { access } from "node:fs/promises";
import { connect, createServer, type Socket } from "node:net";
import { join } from "node:path";
import type { ImageManifest } from "../src/core/image-manifest.ts";
import { Failure } from "../src/lib/errors.ts";
import { within } from "../src/lib/retry.ts";
import { beatClock } from "./beat-listener.ts";
import { run } from "./run.ts";

export interface BareOptions {
  /** The image's folder. */
  image: string;
  manifest: ImageManifest;
  /** Folder for the disk and the monitor's socket; a disk that is there already is booted again. */
  work: string;
  seed?: string;
  memoryMiB?: number;
  cpus?: number;
  diskGiB?: number;
  accelerator?: "tcg" | "kvm";
  /** Added to the kernel's command line. */
  cmdline?: string;
  /** Guest ports to forward. */
  ports?: { tcp?: number[]; udp?: number[] };
}

/** The address at which a bare guest sees this machine's loopback. */
export const bareHost = "10.0.2.2";

/** The line with which the tiny guest says that it is up: boot id and address. Whole, because a console shows it in pieces. */
export const readyLine = /tiny: ready boot_id=([0-9a-f-]{36}) ip=(\S+)\r?\n/;

export class BareGuest {
  /** When QEMU was started, on the beats' clock. */
  readonly startedAt: number;
  readonly #process: ChildProcess;
  readonly #forwarded: Map<string, number>;
  readonly #monitorFile: string;
  readonly #watchers = new Set<() => void>();
  #console = "";
  #errors = "";
  #monitor: Socket | undefined;

  private constructor(process: ChildProcess, forwarded: Map<string, number>, monitorFile: string, startedAt: number) {
    this.startedAt = startedAt;
    this.#process = process;
    this.#forwarded = forwarded;
    this.#monitorFile = monitorFile;
    process.stdout?.on("data", (chunk: Buffer) => {
      this.#console += chunk.toString("latin1");
      this.#wake();
    });
    process.stderr?.on("data", (chunk: Buffer) => (this.#errors += chunk.toString()));
    process.on("close", () => this.#wake());
    process.on("error", () => this.#wake());
  }

  static async start(options: BareOptions): Promise<BareGuest> {
    const { image, manifest, work } = options;
    const disk = join(work, "disk.qcow2");
    if (
      !(await access(disk).then(
        () => true,
        () => false,
      ))
    ) {
      const base = join(image, manifest.disk.file);
      await run("qemu-img", [
        "create",
        "-q",
        "-f",
        "qcow2",
        "-b",
        base,
        "-F",
        manifest.disk.format,
        disk,
        `${options.diskGiB ?? 1}G`,
      ]);
    }
    const forwarded = new Map<string, number>();
    for (const kind of ["tcp", "udp"] as const) {
      for (const port of options.ports?.[kind] ?? []) forwarded.set(`${kind}:${port}`, await freePort());
    }
    const monitorFile = join(work, "qmp");
    const args = qemuArguments(options, disk, monitorFile, forwarded);
    const startedAt = beatClock();
    return new BareGuest(spawn("qemu-system-x86_64", args), forwarded, monitorFile, startedAt);
  }

  get pid(): number | undefined {
    return this.#process.pid;
  }

  /** The loopback port that leads to this port of the guest. */
  port(kind: "tcp" | "udp", port: number): number {
    const found = this.#forwarded.get(`${kind}:${port}`);
    if (found === undefined) throw new Error(`${kind} port ${port} is not forwarded`);
    return found;
  }

  /** Everything the serial console has shown. */
  get console(): string {
    return this.#console;
  }

  /** Waits until the console, from `from` on, shows this; ends early when QEMU does. */
  async shows(pattern: RegExp, deadline: number, from = 0): Promise<RegExpExecArray> {
    const found = this.#until(() => {
      const match = pattern.exec(this.#console.slice(from));
      if (match === null && this.#process.exitCode !== null) {
        throw new Failure(
          "unavailable",
          "GuestGone",
          `QEMU ended before the console showed ${String(pattern)}: ${this.#errors}`,
        );
      }
      return match ?? undefined;
    });
    try {
      return await within(deadline, `the console to show ${String(pattern)}`, found);
    } catch (error) {
      throw new Error(`the console ends with: ${this.#console.slice(-600)}`, { cause: error });
    }
  }

  /** Waits for the tiny guest's ready line. */
  async ready(deadline: number, from = 0): Promise<{ bootId: string; ip: string }> {
    const [, bootId = "", ip = ""] = await this.shows(readyLine, deadline, from);
    return { bootId, ip };
  }

  /** Types a line on the serial console. */
  type(line: string): void {
    this.#process.stdin?.write(`${line}\n`);
  }

  /** Executes one QMP command and gives what it returns. */
  async qmp(execute: string, args: Record<string, unknown> = {}): Promise<unknown> {
    const monitor = (this.#monitor ??= await openMonitor(this.#monitorFile));
    const id = `${execute}-${beatClock()}`;
    const answer = new Promise<unknown>((resolve, reject) => {
      let rest = "";
      const take = (chunk: Buffer) => {
        const lines = (rest + chunk.toString()).split("\n");
        rest = lines.pop() ?? "";
        for (const line of lines) {
          const message = JSON.parse(line) as { id?: string; return?: unknown; error?: { desc: string } };
          if (message.id !== id) continue;
          monitor.off("data", take);
          if (message.error) reject(new Failure("internal", "Qmp", `${execute}: ${message.error.desc}`));
          else resolve(message.return);
        }
      };
      monitor.on("data", take);
      monitor.write(`${JSON.stringify({ execute, arguments: args, id })}\n`);
    });
    return await within(10_000, `QMP ${execute}`, answer);
  }

  /** Waits for QEMU to end by itself; its exit code, or null after a signal. */
  async ended(deadline: number): Promise<number | null> {
    const { exitCode, signalCode } = this.#process;
    if (exitCode !== null || signalCode !== null) return exitCode;
    await within(deadline, "QEMU to end", once(this.#process, "exit"));
    return this.#process.exitCode;
  }

  /** Ends QEMU at once, as the loss of its host would. */
  async kill(): Promise<void> {
    this.#monitor?.destroy();
    if (this.#process.kill("SIGKILL")) await this.ended(10_000);
  }

  async #until<T>(check: () => T | undefined): Promise<T> {
    return await new Promise<T>((resolve, reject) => {
      const look = () => {
        try {
          const found = check();
          if (found === undefined) return;
          this.#watchers.delete(look);
          resolve(found);
        } catch (error) {
          this.#watchers.delete(look);
          reject(error instanceof Error ? error : new Error(String(error)));
        }
      };
      this.#watchers.add(look);
      look();
    });
  }

  #wake(): void {
    for (const look of this.#watchers) look();
  }
}

function qemuArguments(
  options: BareOptions,
  disk: string,
  monitorFile: string,
  forwarded: ReadonlyMap<string, number>,
): string[] {
  const { image, manifest, seed } = options;
  // Several emulated processors, each by a thread of its own, now and then lose a timer and hang.
  const [accelerator, cpu] = options.accelerator === "kvm" ? ["kvm", "host"] : ["tcg,thread=single", "max"];
  const forwards = [...forwarded].map(([key, to]) => {
    const [kind, port] = key.split(":");
    return `,hostfwd=${kind}:127.0.0.1:${to}-:${port}`;
  });
  const boot =
    manifest.boot.kind === "disk"
      ? []
      : [
          ...["-kernel", join(image, manifest.boot.kernel), "-initrd", join(image, manifest.boot.initrd)],
          ...["-append", `${manifest.boot.cmdline} ${options.cmdline ?? ""}`.trim()],
        ];
  const drive = (id: string, file: string, more: string) => [
    ...["-drive", `if=none,id=${id},file=${file},${more}`, "-device", `virtio-blk-pci,drive=${id}`],
  ];
  return [
    ...["-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-nodefaults"],
    ...["-display", "none", "-serial", "stdio", "-qmp", `unix:${monitorFile},server=on,wait=off`],
    ...["-m", String(options.memoryMiB ?? 256), "-smp", String(options.cpus ?? 1), ...boot],
    ...drive("system", disk, "format=qcow2"),
    ...(seed === undefined ? [] : drive("seed", seed, "format=raw,readonly=on")),
    ...["-netdev", `user,id=net${forwards.join("")}`, "-device", "virtio-net-pci,netdev=net,romfile="],
    ...["-device", "virtio-rng-pci", "-device", "virtio-balloon-pci", "-device", "pvpanic"],
  ];
}

async function openMonitor(file: string): Promise<Socket> {
  const socket = connect(file);
  await within(10_000, "QEMU's monitor", once(socket, "connect"));
  socket.write(`${JSON.stringify({ execute: "qmp_capabilities" })}\n`);
  // Nothing waits for the greeting and this answer: each command knows its own answer by its id.
  socket.on("error", () => socket.destroy());
  return socket;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  if (address === null || typeof address === "string") throw new Error("no free port");
  return address.port;
}
