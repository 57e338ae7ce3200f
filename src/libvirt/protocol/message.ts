/**
 * A message on the socket: a length that counts itself, a header of 24 bytes, and a payload whose shape follows from the header.
 * (src/rpc/virnetprotocol.x)
 */
import { enumeration, int, optional, struct, type TypeOf, uint } from "../codec.ts";
import { XdrReader, XdrWriter } from "../xdr.ts";
import { domainOrNull, text, textOrNull, uuid } from "./notation.ts";

/** Header and payload together; a longer one is not libvirt speaking. */
export const messageMax = 33_554_432;
export const headerLength = 24;
const lengthLength = 4;

/** Largest piece of stream data in one packet that every libvirt accepts. */
export const streamPacketMax = 262_120;

const header = struct({
  program: uint,
  version: uint,
  procedure: int,
  type: enumeration({
    call: 0,
    reply: 1,
    message: 2,
    stream: 3,
    "call-with-fds": 4,
    "reply-with-fds": 5,
    "stream-hole": 6,
  }),
  serial: uint,
  status: enumeration({ ok: 0, error: 1, continue: 2 }),
});
export type Header = TypeOf<typeof header>;

/** The payload of every reply and stream packet with status "error". */
export const remoteError = struct({
  code: int,
  domain: int,
  message: textOrNull,
  level: int,
  dom: domainOrNull,
  str1: textOrNull,
  str2: textOrNull,
  str3: textOrNull,
  int1: int,
  int2: int,
  net: optional(struct({ name: text, uuid })),
});

/** Puts a whole message together. */
export function encodeMessage(head: Header, payload: (to: XdrWriter) => void): Buffer {
  const to = new XdrWriter(512);
  to.uint(0);
  header.write(to, head);
  payload(to);
  const bytes = to.finish();
  bytes.writeUInt32BE(bytes.length, 0);
  return bytes;
}

/** Splits a message (without its length) into header and the reader of its payload. */
export function decodeMessage(bytes: Uint8Array): { head: Header; payload: XdrReader } {
  const payload = new XdrReader(bytes);
  return { head: header.read(payload), payload };
}

/**
 * Cuts a byte stream into messages. It keeps the pieces as they came and copies each message once when it is whole, so memory
 * follows what arrived, never what a length promises; a length out of range is reported before a byte of it is kept.
 */
export class MessageSplitter {
  #pieces: Buffer[] = [];
  #buffered = 0;
  /** Of the message at the front, its length included; undefined while those four bytes are not here yet. */
  #wanted: number | undefined;

  /** Takes a piece and calls `each` for every message that is whole now. Returns the reason when the stream is malformed. */
  push(piece: Buffer, each: (message: Buffer) => void): string | undefined {
    if (piece.length > 0) this.#pieces.push(piece);
    this.#buffered += piece.length;
    for (;;) {
      if (this.#wanted === undefined) {
        if (this.#buffered < lengthLength) return undefined;
        const wanted = this.#take(lengthLength).readUInt32BE(0);
        if (wanted < lengthLength + headerLength || wanted > lengthLength + messageMax) return `length ${wanted}`;
        this.#wanted = wanted - lengthLength;
      }
      if (this.#buffered < this.#wanted) return undefined;
      const message = this.#take(this.#wanted);
      this.#wanted = undefined;
      each(message);
    }
  }

  #take(size: number): Buffer {
    this.#buffered -= size;
    const first = this.#pieces[0];
    if (first && first.length > size) {
      this.#pieces[0] = first.subarray(size);
      return first.subarray(0, size);
    }
    const taken: Buffer[] = [];
    let missing = size;
    let used = 0;
    for (const piece of this.#pieces) {
      if (missing === 0) break;
      taken.push(piece.subarray(0, missing));
      if (piece.length > missing) this.#pieces[used] = piece.subarray(missing);
      else used++;
      missing -= Math.min(missing, piece.length);
    }
    this.#pieces.splice(0, used);
    return taken.length === 1 && taken[0] ? taken[0] : Buffer.concat(taken, size);
  }
}
