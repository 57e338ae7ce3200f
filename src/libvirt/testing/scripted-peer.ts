/**
 * A daemon of which the test plays the part, message by message, on a real unix socket: races are chosen, not awaited.
 * The handshake and keepalive are answered by themselves unless the test takes them over.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Codec } from "../codec.ts";
import { connection } from "../protocol/connection.ts";
import { keepalive } from "../protocol/keepalive.ts";
import { decodeMessage, encodeMessage, type Header, MessageSplitter, remoteError } from "../protocol/message.ts";
import { programs, programVersion } from "../protocol/notation.ts";
import type { XdrReader, XdrWriter } from "../xdr.ts";

export interface Received {
  readonly head: Header;
  readonly payload: XdrReader;
}

export class PeerConnection {
  readonly #socket: Socket;
  readonly #received: Received[] = [];
  #wake: () => void = () => {};
  readonly pings: number[] = [];
  ended = false;

  constructor(socket: Socket, peer: ScriptedPeer) {
    this.#socket = socket;
    const splitter = new MessageSplitter();
    socket.on("data", (piece) => {
      splitter.push(piece, (bytes) => {
        const message = decodeMessage(bytes);
        if (!peer.automatic(this, message)) this.#received.push(message);
        this.#wake();
      });
    });
    socket.on("error", () => this.#wake());
    socket.on("close", () => {
      this.ended = true;
      this.#wake();
    });
  }

  /** The next message that is not answered by itself. */
  async next(): Promise<Received> {
    for (;;) {
      const message = this.#received.shift();
      if (message) return message;
      if (this.ended) throw new Error("the client has gone");
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Messages that came and were not taken. */
  get waiting(): number {
    return this.#received.length;
  }

  /** Bytes that the client's side has not taken. */
  get unsent(): number {
    return this.#socket.writableLength;
  }

  raw(bytes: Uint8Array): void {
    this.#socket.write(bytes);
  }

  send(head: Partial<Header> & Pick<Header, "procedure" | "type">, payload: (to: XdrWriter) => void = () => {}): void {
    const whole = { program: programs.remote, version: programVersion, serial: 0, status: "ok" as const, ...head };
    this.raw(encodeMessage(whole, payload));
  }

  reply<T>(call: Received, codec: Codec<T>, value: T): void {
    this.send({ ...call.head, type: "reply" }, (to) => codec.write(to, value));
  }

  refuse(call: Received, code: number, message: string): void {
    this.send({ ...call.head, type: "reply", status: "error" }, (to) =>
      remoteError.write(to, errorValue(code, message)),
    );
  }

  /** Stream data for a call that opened one. */
  stream(call: Received, status: Header["status"], bytes: Uint8Array = new Uint8Array(0)): void {
    const head = encodeMessage({ ...call.head, type: "stream", status }, () => {});
    const message = Buffer.concat([head, bytes]);
    message.writeUInt32BE(message.length, 0);
    this.raw(message);
  }

  destroy(): void {
    this.#socket.destroy();
  }

  async closed(): Promise<void> {
    if (!this.ended) await once(this.#socket, "close");
  }
}

export class ScriptedPeer {
  readonly path: string;
  readonly #dir: string;
  readonly #server: Server;
  readonly #connections: PeerConnection[] = [];
  #wake: () => void = () => {};
  /** Set to have the client's own pings unanswered. */
  silent = false;
  /** Set to script the handshake as well. */
  manual = false;
  authTypes: readonly number[] = [0];

  private constructor() {
    this.#dir = mkdtempSync(join(tmpdir(), "peer-"));
    this.path = join(this.#dir, "sock");
    this.#server = createServer((socket) => {
      this.#connections.push(new PeerConnection(socket, this));
      this.#wake();
    });
  }

  static async listen(): Promise<ScriptedPeer> {
    const peer = new ScriptedPeer();
    peer.#server.listen(peer.path);
    await once(peer.#server, "listening");
    return peer;
  }

  /** The next connection a client opens. */
  async connection(): Promise<PeerConnection> {
    for (;;) {
      const found = this.#connections.shift();
      if (found) return found;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  /** Answers what every client does first; true when the message was answered. */
  automatic(on: PeerConnection, message: Received): boolean {
    const { program, procedure } = message.head;
    if (program === programs.keepalive) {
      if (procedure === keepalive.ping.number) {
        on.pings.push(performance.now());
        if (!this.silent) on.send({ program, procedure: keepalive.pong.number, type: "message" });
        return true;
      }
      return false;
    }
    if (this.manual || program !== programs.remote) return false;
    if (procedure === connection.authList.number) {
      on.reply(message, connection.authList.result, { types: this.authTypes });
    } else if (procedure === connection.connectOpen.number) {
      on.reply(message, connection.connectOpen.result, {});
    } else if (procedure === connection.connectSupportsFeature.number) {
      on.reply(message, connection.connectSupportsFeature.result, { supported: true });
    } else {
      return false;
    }
    return true;
  }

  async close(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const one of this.#connections) one.destroy();
    await closed;
    rmSync(this.#dir, { recursive: true, force: true });
  }
}

function errorValue(code: number, message: string): Parameters<typeof remoteError.write>[1] {
  return {
    code,
    domain: 10,
    message,
    level: 2,
    dom: undefined,
    str1: undefined,
    str2: undefined,
    str3: undefined,
    int1: 0,
    int2: 0,
    net: undefined,
  };
}
