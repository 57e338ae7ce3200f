/**
 * JSON lines over one TLS connection between two Computes: bounded, one object a line. An empty line is a beat: each side sends one
 * every half second and gives the connection up when it has counted so many beats of its own without a byte from the other as make up the silence
 * that is borne, so a cut cable is noticed in that time, and a process that was itself held up accuses nobody. Sooner would end moves for no other
 * reason than that the other host was busy; the guest runs meanwhile.
 */
import type { TLSSocket } from "node:tls";
import { Failure } from "../../lib/errors.ts";
import { notTrusted } from "./qemu-certificate.ts";

const beatMs = 500;
/** A definition and libvirt's cookie, with room to spare. */
const longestLine = 1_048_576;

export class Lines {
  readonly #socket: TLSSocket;
  /** Resolves, never rejects, with why it is over. */
  readonly over: Promise<Failure>;
  #why: Failure | null = null;

  /** `onLine` may throw: then the connection ends. */
  constructor(socket: TLSSocket, silenceMs: number, onLine: (value: unknown) => void) {
    this.#socket = socket;
    socket.setNoDelay(true);
    let silent = 0;
    const timer = setInterval(() => {
      if (++silent > silenceMs / beatMs) this.close("nothing was heard from the other host");
      else socket.write("\n");
    }, beatMs);
    let pending = "";
    socket.setEncoding("utf8");
    socket.on("data", (part: string) => {
      silent = 0;
      const lines = (pending + part).split("\n");
      pending = lines.pop() ?? "";
      try {
        if (pending.length > longestLine) throw new Error("a line is too long");
        for (const line of lines) if (line !== "") onLine(JSON.parse(line));
      } catch (error) {
        this.close(`the other host does not keep to the protocol: ${String(error).slice(0, 200)}`);
      }
    });
    socket.on("end", () => this.close("the other host has closed the connection"));
    socket.on("error", (error) => this.#end(lostBy(error)));
    const { promise, resolve } = Promise.withResolvers<Failure>();
    this.over = promise;
    socket.on("close", () => {
      clearInterval(timer);
      resolve(this.#why ?? linkLost("the connection was closed"));
    });
  }

  send(value: unknown): void {
    if (this.#why === null) this.#socket.write(`${JSON.stringify(value)}\n`);
  }

  close(why: string): void {
    this.#end(linkLost(why));
  }

  #end(why: Failure): void {
    this.#why ??= why;
    this.#socket.destroy();
  }
}

/** What TLS says of the other host's certificate is another matter than a cable. */
export function lostBy(error: NodeJS.ErrnoException): Failure {
  return /CERT|LEAF_SIGNATURE/.test(error.code ?? "")
    ? notTrusted(`a host's certificate is not good: ${error.message}`, error)
    : linkLost(error.message, error);
}

export function linkLost(why: string, cause?: unknown): Failure {
  return new Failure("unavailable", "MigrationLinkLost", `the two hosts lost each other: ${why}`, { cause });
}
