/**
 * A monitor of our own in the QEMU of a guest that comes by post-copy. libvirt's answers nothing while memory comes, and libvirt 11.3 ends itself
 * when it is to join two QEMUs anew (its prepare for `postcopy-resume` takes a null pointer for a file), so what a guest in two halves needs
 * is asked of QEMU itself. The socket is in libvirt's own folder, for root and QEMU alone.
 *
 * Commands are obeyed in QEMU's main thread, under a lock that a processor of the guest keeps while it waits for memory that is not here (an interrupt
 * whose stack is missing). Then nothing is answered any more, and with the way for the memory broken nothing ever would be. So the
 * connection is made before the source switches, and held: QEMU reads it in a thread of its own and obeys there, beside
 * that lock, what is said out of band; its events come from any thread. Only the connection itself cannot be made anew
 * while a guest waits so.
 */
import { createConnection, type Socket } from "node:net";
import { Failure } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { within } from "../../lib/retry.ts";

const askMs = 5_000;
/** QEMU's main thread may be in the middle of something; one that waits for memory never answers. */
const inBandMs = 1_500;
const longestAnswer = 1_048_576;

export function monitorSocket(id: InstanceId): string {
  return `/var/lib/libvirt/qemu/vstation-${id}.sock`;
}

/** The machine with it. */
export function withMonitor(xml: string, id: InstanceId): string {
  const args = ["-chardev", `socket,id=vstation,path=${monitorSocket(id)},server=on,wait=off`];
  const all = [...args, "-mon", "chardev=vstation,mode=control"];
  const command = `<qemu:commandline>${all.map((arg) => `<qemu:arg value='${arg}'/>`).join("")}</qemu:commandline>`;
  return xml.replace("</domain>", `${command}</domain>`);
}

type Answer = Record<string, unknown>;

/** One connection: QEMU serves one at a time. Once it ended, by whichever side, it is over. */
class Session {
  /** What QEMU last said of the migration, asked or not; null: nothing yet. */
  status: string | null = null;
  readonly #socket: Socket;
  readonly #changed: () => void;
  readonly #waiting = new Map<number, { resolve(answer: Answer): void; reject(error: Error): void }>();
  readonly #greeted = Promise.withResolvers<void>();
  #asked = 0;
  #pending = "";

  constructor(path: string, changed: () => void) {
    this.#changed = changed;
    this.#socket = createConnection(path);
    this.#socket.setEncoding("utf8");
    this.#socket.on("data", (part: string) => this.#read(part));
    // It is closed next.
    this.#socket.on("error", () => {});
    this.#socket.on("close", () => this.#end());
    this.#greeted.promise.catch(() => {});
  }

  get isOver(): boolean {
    return this.#socket.destroyed;
  }

  async begin(): Promise<void> {
    await this.#greeted.promise;
    await this.ask("execute", "qmp_capabilities", { enable: ["oob"] });
  }

  /** Its answer may never come. */
  async ask(how: "execute" | "exec-oob", command: string, args: Record<string, unknown> = {}): Promise<Answer> {
    const id = ++this.#asked;
    const { promise, resolve, reject } = Promise.withResolvers<Answer>();
    if (this.isOver) throw lost();
    this.#waiting.set(id, { resolve, reject });
    this.#socket.write(`${JSON.stringify({ [how]: command, arguments: args, id })}\n`);
    return await promise;
  }

  close(): void {
    this.#socket.destroy();
  }

  #read(part: string): void {
    const lines = (this.#pending + part).split("\n");
    this.#pending = lines.pop() ?? "";
    if (this.#pending.length > longestAnswer) this.#socket.destroy();
    for (const line of lines) {
      const said = parse(line);
      if (said !== null) this.#take(said);
    }
  }

  #take(said: Answer): void {
    if ("QMP" in said) return this.#greeted.resolve();
    if (said["event"] === "MIGRATION") {
      this.status = statusIn(said["data"]) ?? this.status;
      return this.#changed();
    }
    const id = said["id"];
    if (typeof id !== "number") return;
    const asked = this.#waiting.get(id);
    this.#waiting.delete(id);
    if ("error" in said) {
      const text = JSON.stringify(said["error"]).slice(0, 500);
      asked?.reject(new Failure("conflict", "MonitorRefused", `QEMU refused: ${text}`));
    } else asked?.resolve((said["return"] ?? {}) as Answer);
  }

  #end(): void {
    this.#greeted.reject(lost());
    for (const asked of this.#waiting.values()) asked.reject(lost());
    this.#waiting.clear();
  }
}

export class Monitor {
  readonly #path: string;
  readonly #changed: () => void;
  #session: Session | null = null;
  #opening: Promise<Session> | null = null;
  #asking: Promise<unknown> | null = null;
  #closed = false;

  /** `changed`: QEMU has said by itself how its migration is. */
  constructor(id: InstanceId, changed: () => void) {
    this.#path = monitorSocket(id);
    this.#changed = changed;
  }

  /** Connects to it, unless that is done. */
  async open(): Promise<void> {
    await this.#open();
  }

  /**
   * QEMU's `MigrationStatus`. Where its main thread does not answer, what it has last said by itself. Throws where it is not reached, or says
   * nothing.
   */
  async status(): Promise<string> {
    const session = await this.#open();
    // One at a time: from the eighth question that waits QEMU would read nothing more.
    this.#asking ??= this.#ask(session).finally(() => (this.#asking = null));
    this.#asking.catch(() => {});
    await within(inBandMs, "QEMU's answer to query-migrate", this.#asking).catch(() => {});
    if (session.status === null)
      throw new Failure("unavailable", "MonitorSilent", "QEMU does not say how its migration is");
    return session.status;
  }

  /** Beside whatever QEMU's main thread does. */
  async command(command: "migrate-pause" | "migrate-recover", args: Record<string, unknown> = {}): Promise<void> {
    const session = await this.#open();
    await within(askMs, `QEMU's answer to ${command}`, session.ask("exec-oob", command, args));
  }

  /** For good. */
  close(): void {
    this.#closed = true;
    this.#session?.close();
  }

  async #ask(session: Session): Promise<void> {
    const answer = await session.ask("execute", "query-migrate");
    session.status = statusIn(answer) ?? session.status;
  }

  async #open(): Promise<Session> {
    if (this.#session !== null && !this.#session.isOver) return this.#session;
    this.#opening ??= this.#connect().finally(() => (this.#opening = null));
    return await this.#opening;
  }

  async #connect(): Promise<Session> {
    const session = new Session(this.#path, this.#changed);
    try {
      await within(askMs, "QEMU's word on a monitor", session.begin());
      if (this.#closed) throw lost();
    } catch (error) {
      session.close();
      throw error;
    }
    this.#session = session;
    return session;
  }
}

const lost = (): Failure => new Failure("unavailable", "MonitorLost", "the monitor of QEMU was closed");

function statusIn(said: unknown): string | null {
  if (typeof said !== "object" || said === null) return null;
  const { status } = said as { status?: unknown };
  return typeof status === "string" ? status : null;
}

function parse(line: string): Answer | null {
  try {
    const said = JSON.parse(line) as unknown;
    return typeof said === "object" && said !== null ? (said as Answer) : null;
  } catch {
    return null;
  }
}
