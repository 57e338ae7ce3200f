/**
 * Asks the probe in a tiny guest: one connection to its control port, one line out, one line of JSON back, in order.
 *
 * A missed deadline means that the outcome is unknown, and what still comes would be taken for the next answer: so it ends the
 * connection. Every end of it (close, error, deadline) settles every waiter. poweroff, reboot and panic have no answer: the
 * connection's end is theirs.
 */
import { connect, type Socket } from "node:net";
import type { Duplex } from "node:stream";
import * as z from "zod";
import { Failure } from "../src/lib/errors.ts";
import { within } from "../src/lib/retry.ts";

export const probePort = 7777;

const info = z.object({
  ip: z.string(),
  hostname: z.string(),
  instanceId: z.string(),
  bootId: z.string(),
  /** How often this system disk was booted from. */
  boots: z.int(),
  cpus: z.int(),
  memoryMiB: z.int(),
  /** Of the file system on the system disk; 0 without one. */
  diskMiB: z.int(),
  kernel: z.string(),
  uptimeMs: z.int(),
});
const beat = z.object({ running: z.boolean(), sent: z.int(), failed: z.int() });
const dirty = z.object({
  running: z.boolean(),
  mib: z.int(),
  rateMiBps: z.int(),
  writtenPages: z.int(),
  elapsedUs: z.int(),
});
const checksum = z.object({ pages: z.int(), sum: z.string() });
const diskWrite = z.object({ writtenMiB: z.int(), elapsedUs: z.int() });
const records = z.object({
  running: z.boolean(),
  /** The highest number whose fsync returned. */
  acked: z.int(),
  failed: z.int(),
  error: z.string(),
  slowestUs: z.int(),
});
const victim = z.object({ pid: z.int(), guestPhysical: z.string() });
const victimState = z.object({ pid: z.int(), alive: z.boolean(), signal: z.int() });
const accepted = z.looseObject({ ok: z.literal(true) });
const refusal = z.looseObject({ ok: z.literal(false), error: z.string() });

export type ProbeInfo = z.infer<typeof info>;
export type DirtyStatus = z.infer<typeof dirty>;
export type RecordStatus = z.infer<typeof records>;

/** Takes one line the probe sent; a refusal becomes a Failure that carries the whole answer as detail. */
export function parseAnswer<S extends z.ZodType>(line: string, schema: S): z.output<S> {
  let raw: unknown;
  try {
    raw = JSON.parse(line);
  } catch (cause) {
    throw new Failure("internal", "ProbeAnswer", `the probe's answer is not JSON: ${line}`, { cause });
  }
  const refused = refusal.safeParse(raw);
  if (refused.success) {
    throw new Failure("conflict", "ProbeRefused", `the probe says: ${refused.data.error}`, { detail: refused.data });
  }
  const parsed = schema.safeParse(raw);
  if (!parsed.success || !accepted.safeParse(raw).success) {
    throw new Failure("internal", "ProbeAnswer", `the probe's answer has another form: ${line}`, {
      cause: parsed.error,
    });
  }
  return parsed.data;
}

interface Waiter {
  resolve: (line: string) => void;
  reject: (error: Error) => void;
}

export class ProbeClient {
  readonly #stream: Duplex;
  readonly #waiters: Waiter[] = [];
  #rest = "";
  #ended: Error | undefined;

  /** Speaks over a stream that leads to the control port; for a guest that is not reached by a plain connection. */
  constructor(stream: Duplex) {
    this.#stream = stream;
    stream.on("data", (chunk: Buffer) => this.#take(chunk.toString()));
    stream.on("error", (cause) =>
      this.#end(new Failure("unavailable", "ProbeGone", "the probe's connection broke", { cause })),
    );
    stream.on("close", () => this.#end(new Failure("unavailable", "ProbeGone", "the probe's connection ended")));
  }

  /** Connects; fails with `unavailable`, or `timeout` after `deadline` ms. */
  static async connect(host: string, options: { port?: number; deadline?: number } = {}): Promise<ProbeClient> {
    const socket = connect({ host, port: options.port ?? probePort, noDelay: true });
    try {
      await within(options.deadline ?? 5_000, `connecting to the probe at ${host}`, connected(socket));
      return new ProbeClient(socket);
    } catch (error) {
      socket.destroy();
      throw error;
    }
  }

  /** Sends one command and gives its answer, parsed. */
  async ask<S extends z.ZodType>(line: string, schema: S, deadline = 10_000): Promise<z.output<S>> {
    const answer = this.#send(line);
    try {
      return parseAnswer(await within(deadline, `the probe's answer to "${line}"`, answer), schema);
    } catch (error) {
      if (error instanceof Failure && error.kind === "timeout") this.close();
      throw error;
    }
  }

  async info(deadline?: number): Promise<ProbeInfo> {
    return await this.ask("info", info, deadline);
  }

  async bootId(deadline?: number): Promise<string> {
    return (await this.ask("bootid", z.object({ bootId: z.string() }), deadline)).bootId;
  }

  async uptimeMs(deadline?: number): Promise<number> {
    return (await this.ask("uptime", z.object({ uptimeMs: z.int() }), deadline)).uptimeMs;
  }

  /** Beats go to `ip:port` every `intervalUs` microseconds (at least 100) until stopped or started anew. */
  async beatStart(ip: string, port: number, intervalUs = 1000): Promise<z.infer<typeof beat>> {
    return await this.ask(`beat start ${ip} ${port} ${intervalUs}`, beat);
  }

  async beatStop(): Promise<z.infer<typeof beat>> {
    return await this.ask("beat stop", beat);
  }

  async beatStatus(): Promise<z.infer<typeof beat>> {
    return await this.ask("beat status", beat);
  }

  /** Makes a region of this size with every page written once. */
  async fill(mib: number, deadline = 60_000): Promise<DirtyStatus> {
    return await this.ask(`fill ${mib}`, dirty, deadline);
  }

  /** Fills a region and then writes its pages at this rate (0: as fast as it goes), in order or at random. */
  async dirtyStart(
    load: { mib: number; rateMiBps: number; order?: "sequential" | "random" },
    deadline = 60_000,
  ): Promise<DirtyStatus> {
    return await this.ask(`dirty start ${load.mib} ${load.rateMiBps} ${load.order ?? "sequential"}`, dirty, deadline);
  }

  async dirtyStop(): Promise<DirtyStatus> {
    return await this.ask("dirty stop", dirty);
  }

  async dirtyStatus(deadline?: number): Promise<DirtyStatus> {
    return await this.ask("dirty status", dirty, deadline);
  }

  /** Breaks one word of a page, so that a test can see its checksum fail. */
  async dirtyCorrupt(page: number): Promise<void> {
    await this.ask(`dirty corrupt ${page}`, dirty);
  }

  /** Compares every page with what was last written to it; refused, with `firstBadPage`, when one differs. */
  async checksum(deadline = 60_000): Promise<z.infer<typeof checksum>> {
    return await this.ask("checksum", checksum, deadline);
  }

  /** Appends that much to a file, synced after each MiB. */
  async diskWrite(mib: number, deadline = 120_000): Promise<z.infer<typeof diskWrite>> {
    return await this.ask(`disk write ${mib}`, diskWrite, deadline);
  }

  /** Removes what diskWrite wrote. */
  async diskClear(): Promise<void> {
    await this.ask("disk clear", z.object({}));
  }

  /** Writes numbered records one after the other, each synced before it counts as acknowledged. */
  async recordsStart(intervalUs = 0): Promise<RecordStatus> {
    return await this.ask(`disk start ${intervalUs}`, records);
  }

  async recordsStop(deadline?: number): Promise<RecordStatus> {
    return await this.ask("disk stop", records, deadline);
  }

  async recordsStatus(deadline?: number): Promise<RecordStatus> {
    return await this.ask("disk status", records, deadline);
  }

  /** The highest record that is whole on the disk: below an acknowledged number, a write was lost. */
  async lastRecord(): Promise<number> {
    return (await this.ask("disk last", z.object({ last: z.int() }), 30_000)).last;
  }

  /** Starts a process that reads one page for ever, to be hit by a memory error at its guest-physical address. */
  async victimStart(): Promise<{ pid: number; guestPhysical: bigint }> {
    const started = await this.ask("victim start", victim);
    return { pid: started.pid, guestPhysical: BigInt(started.guestPhysical) };
  }

  async victimStatus(): Promise<z.infer<typeof victimState>> {
    return await this.ask("victim status", victimState);
  }

  /** Powers off, restarts or panics the guest; returns when the command is sent. */
  leave(how: "poweroff" | "reboot" | "panic"): void {
    void this.#send(how).catch(() => "the connection's end is the answer");
  }

  close(): void {
    this.#stream.destroy();
    this.#end(new Failure("unavailable", "ProbeGone", "the probe's connection was closed"));
  }

  async #send(line: string): Promise<string> {
    if (this.#ended !== undefined) throw this.#ended;
    return await new Promise((resolve, reject) => {
      this.#waiters.push({ resolve, reject });
      this.#stream.write(`${line}\n`);
    });
  }

  #take(text: string): void {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const line of lines) this.#waiters.shift()?.resolve(line);
  }

  #end(error: Error): void {
    this.#ended ??= error;
    for (const waiter of this.#waiters.splice(0)) waiter.reject(this.#ended);
  }
}

async function connected(socket: Socket): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("error", (cause) =>
      reject(new Failure("unavailable", "ProbeGone", "the probe does not answer", { cause })),
    );
  });
}
