/**
 * Serial consoles in use: one libvirt stream per instance, shared by everyone who looks at it.
 *
 * libvirt gives a console to one client only; a second one must take it away (`force`). So this host opens it once and copies what
 * the guest writes to each session; what any of them types goes to the guest. The stream is closed with its last session. A
 * session whose connection does not take the output fast enough is closed, so that it slows nobody down.
 */
import type { Log } from "../../lib/log.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { Failure, formatError } from "../../lib/errors.ts";
import type { ByteStream, DomainRef } from "../../libvirt/contract.ts";
import { isLibvirtError } from "../../libvirt/errors.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { Reply } from "../link/link.ts";

interface Shared {
  readonly id: InstanceId;
  readonly stream: ByteStream;
  readonly sessions: Map<string, Reply>;
}

/** More than this many unsent bytes on its connection, and a session is too slow. */
const longestBacklog = 4 * 2 ** 20;

export class Consoles {
  readonly #libvirt: Hypervisor;
  readonly #log: Log;
  #shared = new Map<InstanceId, Shared>();
  #opening = new Map<InstanceId, Promise<Shared>>();

  constructor(libvirt: Hypervisor, log: Log) {
    this.#libvirt = libvirt;
    this.#log = log;
  }

  async open(
    id: InstanceId,
    domain: DomainRef,
    want: { session: string; force: boolean },
    reply: Reply,
  ): Promise<void> {
    const shared = this.#shared.get(id) ?? (await this.#join(id, domain, want.force));
    shared.sessions.set(want.session, reply);
  }

  input(session: string, data: Buffer): void {
    const shared = this.#of(session);
    if (shared === undefined) return;
    shared.stream.write(data).catch((error: unknown) => this.#end(shared, formatError(error)));
  }

  close(session: string): void {
    const shared = this.#of(session);
    if (shared === undefined) return;
    shared.sessions.delete(session);
    if (shared.sessions.size === 0) this.#end(shared, "nobody looks any more");
  }

  /** The connection to VStation went: every session went with it. */
  closeAll(): void {
    for (const shared of this.#shared.values()) {
      shared.sessions.clear();
      this.#end(shared, "the connection to VStation was lost");
    }
  }

  /** Two sessions that open at the same moment share one opening. */
  #join(id: InstanceId, domain: DomainRef, force: boolean): Promise<Shared> {
    let opening = this.#opening.get(id);
    if (opening === undefined) {
      opening = this.#start(id, domain, force).finally(() => this.#opening.delete(id));
      this.#opening.set(id, opening);
    }
    return opening;
  }

  async #start(id: InstanceId, domain: DomainRef, force: boolean): Promise<Shared> {
    let stream: ByteStream;
    try {
      stream = await this.#libvirt.consoleOpen(domain, { force });
    } catch (error) {
      if (!isLibvirtError(error, "OperationFailed")) throw error;
      throw new Failure("conflict", "ConsoleBusy", "another program on the host has the console; force takes it over", {
        cause: error,
      });
    }
    const shared: Shared = { id, stream, sessions: new Map() };
    this.#shared.set(id, shared);
    void this.#pump(shared);
    return shared;
  }

  async #pump(shared: Shared): Promise<void> {
    let reason = "the guest's console was closed";
    try {
      for await (const bytes of shared.stream) {
        const data = Buffer.from(bytes).toString("base64");
        for (const [session, reply] of shared.sessions) {
          if (reply.backlog < longestBacklog) {
            reply.send({ type: "console.output", session, data });
            continue;
          }
          shared.sessions.delete(session);
          reply.send({ type: "console.closed", session, reason: "too slow for what the guest writes" });
        }
        if (shared.sessions.size === 0) return this.#end(shared, "nobody looks any more");
      }
    } catch (error) {
      reason = formatError(error);
      this.#log.info({ instance: shared.id, reason }, "a console ended");
    }
    return this.#end(shared, reason);
  }

  #end(shared: Shared, reason: string): void {
    if (this.#shared.get(shared.id) !== shared) return;
    this.#shared.delete(shared.id);
    for (const [session, reply] of shared.sessions) {
      reply.send({ type: "console.closed", session, reason: reason.slice(0, 256) });
    }
    shared.sessions.clear();
    shared.stream.abort();
  }

  #of(session: string): Shared | undefined {
    return [...this.#shared.values()].find((shared) => shared.sessions.has(session));
  }
}
