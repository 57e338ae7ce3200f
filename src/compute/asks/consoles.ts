/**
 * Serial consoles in use: one connection to QEMU per instance, shared by everyone who looks at it.
 *
 * QEMU serves one client of its socket at a time and lets others wait unheard. So this host connects once and copies what the
 * guest writes to each session; what any of them types goes to the guest. The connection is closed with its last session. A
 * session whose connection does not take the output fast enough is closed, so that it slows nobody down.
 */
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import type { Log } from "../../lib/log.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { Failure, formatError } from "../../lib/errors.ts";
import type { Reply } from "../link/link.ts";

interface Shared {
  readonly id: InstanceId;
  readonly socket: Socket;
  readonly sessions: Map<string, Reply>;
}

/** More than this many unsent bytes on its connection, and a session is too slow. */
const longestBacklog = 4 * 2 ** 20;
/** More than this many bytes typed that the guest has not read. */
const longestUnread = 2 ** 20;

export class Consoles {
  readonly #log: Log;
  #shared = new Map<InstanceId, Shared>();
  #opening = new Map<InstanceId, Promise<Shared>>();
  /** Counts the connections to VStation that went: who asked on one of them gets no session any more. */
  #lost = 0;

  constructor(log: Log) {
    this.#log = log;
  }

  /** `path`: where the guest's QEMU listens. */
  async open(id: InstanceId, path: string, session: string, reply: Reply): Promise<void> {
    const lost = this.#lost;
    const shared = this.#shared.get(id) ?? (await this.#join(id, path));
    // The guest may have ended, or the asker's connection, before this session was entered.
    if (this.#shared.get(id) !== shared) throw notRunning(id);
    if (lost === this.#lost) shared.sessions.set(session, reply);
    else if (shared.sessions.size === 0) this.#end(shared, "nobody looks any more");
  }

  input(session: string, data: Buffer): void {
    const socket = this.#of(session)?.socket;
    // What a guest does not read is lost once there is too much of it, as on a serial line.
    if (socket !== undefined && socket.writableLength < longestUnread) socket.write(data);
  }

  close(session: string): void {
    const shared = this.#of(session);
    if (shared === undefined) return;
    shared.sessions.delete(session);
    if (shared.sessions.size === 0) this.#end(shared, "nobody looks any more");
  }

  /** The connection to VStation went: every session went with it. */
  closeAll(): void {
    this.#lost++;
    for (const shared of this.#shared.values()) {
      shared.sessions.clear();
      this.#end(shared, "the connection to VStation was lost");
    }
  }

  /** Two sessions that open at the same moment share one opening. */
  #join(id: InstanceId, path: string): Promise<Shared> {
    let opening = this.#opening.get(id);
    if (opening === undefined) {
      opening = this.#start(id, path).finally(() => this.#opening.delete(id));
      this.#opening.set(id, opening);
    }
    return opening;
  }

  async #start(id: InstanceId, path: string): Promise<Shared> {
    const socket = connect(path);
    try {
      await once(socket, "connect");
    } catch (error) {
      throw notRunning(id, error);
    }
    const shared: Shared = { id, socket, sessions: new Map() };
    this.#shared.set(id, shared);
    socket.on("data", (data) => this.#output(shared, data));
    socket.on("error", (error) => this.#end(shared, formatError(error)));
    socket.on("close", () => this.#end(shared, "the guest's console was closed"));
    return shared;
  }

  #output(shared: Shared, bytes: Buffer): void {
    const data = bytes.toString("base64");
    for (const [session, reply] of shared.sessions) {
      if (reply.backlog < longestBacklog) {
        reply.send({ type: "console.output", session, data });
        continue;
      }
      shared.sessions.delete(session);
      reply.send({ type: "console.closed", session, reason: "too slow for what the guest writes" });
    }
    if (shared.sessions.size === 0) this.#end(shared, "nobody looks any more");
  }

  #end(shared: Shared, reason: string): void {
    if (this.#shared.get(shared.id) !== shared) return;
    this.#shared.delete(shared.id);
    this.#log.debug({ instance: shared.id, reason }, "a console ended");
    for (const [session, reply] of shared.sessions) {
      reply.send({ type: "console.closed", session, reason: reason.slice(0, 256) });
    }
    shared.sessions.clear();
    shared.socket.destroy();
  }

  #of(session: string): Shared | undefined {
    return [...this.#shared.values()].find((shared) => shared.sessions.has(session));
  }
}

function notRunning(id: InstanceId, cause?: unknown): Failure {
  return new Failure("conflict", "InstanceNotRunning", `${id} is not running on this host`, { cause });
}
