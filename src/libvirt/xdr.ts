/**
 * XDR (RFC 4506) at the level of bytes: big-endian, every item a multiple of four bytes, nothing named. What the bytes mean is in
 * codec.ts and protocol/.
 *
 * The reader takes bytes from outside this process. Its rule: no length is believed before it was compared with what is really
 * there, so a malformed message costs an error and never memory.
 */

/** The bytes are not what the protocol says, or a value cannot be put on the wire. Names the place, never a secret. */
export class XdrError extends Error {
  override readonly name = "XdrError";
}

/** Appends items to a buffer that grows. */
export class XdrWriter {
  #bytes: Buffer;
  #used = 0;

  constructor(expected = 256) {
    this.#bytes = Buffer.allocUnsafe(Math.max(16, expected));
  }

  get length(): number {
    return this.#used;
  }

  /** The bytes written so far; the writer must not be used afterwards. */
  finish(): Buffer {
    return this.#bytes.subarray(0, this.#used);
  }

  uint(value: number): void {
    if (!Number.isInteger(value) || value < 0 || value > 0xffff_ffff) throw new XdrError(`not a uint: ${value}`);
    const at = this.#room(4);
    this.#bytes.writeUInt32BE(value, at);
  }

  int(value: number): void {
    if (!Number.isInteger(value) || value < -0x8000_0000 || value > 0x7fff_ffff) {
      throw new XdrError(`not an int: ${value}`);
    }
    const at = this.#room(4);
    this.#bytes.writeInt32BE(value, at);
  }

  hyper(value: bigint): void {
    if (BigInt.asIntN(64, value) !== value) throw new XdrError(`not a hyper: ${value}`);
    const at = this.#room(8);
    this.#bytes.writeBigInt64BE(value, at);
  }

  uhyper(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value) throw new XdrError(`not an unsigned hyper: ${value}`);
    const at = this.#room(8);
    this.#bytes.writeBigUInt64BE(value, at);
  }

  double(value: number): void {
    const at = this.#room(8);
    this.#bytes.writeDoubleBE(value, at);
  }

  /** Raw bytes, padded with zeros to a multiple of four, without a length. */
  fixed(bytes: Uint8Array): void {
    const at = this.#room(padded(bytes.length));
    this.#bytes.set(bytes, at);
    this.#bytes.fill(0, at + bytes.length, this.#used);
  }

  /** A length and the bytes. */
  variable(bytes: Uint8Array): void {
    this.uint(bytes.length);
    this.fixed(bytes);
  }

  /** Makes room for `size` bytes and says where they start. It may replace `#bytes`, so it comes before any use of that. */
  #room(size: number): number {
    const at = this.#used;
    const needed = at + size;
    if (needed > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(needed, this.#bytes.length * 2));
      grown.set(this.#bytes.subarray(0, at));
      this.#bytes = grown;
    }
    this.#used = needed;
    return at;
  }
}

/** Takes items from a buffer, in order. Byte results are views into it, not copies. */
export class XdrReader {
  readonly #bytes: Buffer;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get remaining(): number {
    return this.#bytes.length - this.#at;
  }

  /** Everything not read yet. */
  rest(): Buffer {
    return this.#bytes.subarray(this.#take(this.remaining));
  }

  uint(): number {
    return this.#bytes.readUInt32BE(this.#take(4));
  }

  int(): number {
    return this.#bytes.readInt32BE(this.#take(4));
  }

  hyper(): bigint {
    return this.#bytes.readBigInt64BE(this.#take(8));
  }

  uhyper(): bigint {
    return this.#bytes.readBigUInt64BE(this.#take(8));
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.#take(8));
  }

  fixed(length: number): Buffer {
    const at = this.#take(padded(length));
    return this.#bytes.subarray(at, at + length);
  }

  /** A length not above `max`, and that many bytes. */
  variable(max: number): Buffer {
    return this.fixed(this.count(max, 1));
  }

  /** An element count not above `max` that the remaining bytes can really hold at `least` bytes an element. */
  count(max: number, least: number): number {
    const count = this.uint();
    if (count > max) throw new XdrError(`length ${count} is above the limit of ${max}`);
    if (count * least > this.remaining) throw new XdrError(`length ${count} does not fit into ${this.remaining} bytes`);
    return count;
  }

  #take(size: number): number {
    if (size > this.remaining) throw new XdrError(`${size} bytes wanted, ${this.remaining} left`);
    const at = this.#at;
    this.#at = at + size;
    return at;
  }
}

function padded(length: number): number {
  return (length + 3) & ~3;
}
