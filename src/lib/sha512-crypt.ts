/**
 * SHA-512-crypt (`$6$`), the form in which Linux keeps passwords and cloud-init takes them; after the specification by Ulrich Drepper,
 * https://www.akkadia.org/drepper/SHA-crypt.txt. Node has no crypt(3), and a child process would see the password in its arguments
 * or need it by a pipe. 5,000 rounds, the form's default, take about 10 ms here.
 */
import { hash, randomBytes } from "node:crypto";

const alphabet = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const rounds = 5_000;
const saltLength = 16;

const sha512 = (...parts: Uint8Array[]): Buffer => hash("sha512", Buffer.concat(parts), "buffer");

/** The password with a salt of its own, as it goes into /etc/shadow. */
export function sha512Crypt(password: string, salt = freshSalt()): string {
  const key = Buffer.from(password);
  const saltBytes = Buffer.from(salt);
  const alternate = sha512(key, saltBytes, key);
  const first = [key, saltBytes, filled(alternate, key.length)];
  for (let bits = key.length; bits > 0; bits >>= 1) first.push(bits % 2 === 1 ? alternate : key);
  let digest = sha512(...first);
  const p = filled(sha512(...Array.from({ length: key.length }, () => key)), key.length);
  const s = filled(sha512(...Array.from({ length: 16 + (digest[0] ?? 0) }, () => saltBytes)), saltBytes.length);
  for (let round = 0; round < rounds; round++) {
    const odd = round % 2 === 1;
    const parts: Uint8Array[] = [odd ? p : digest];
    if (round % 3 !== 0) parts.push(s);
    if (round % 7 !== 0) parts.push(p);
    parts.push(odd ? digest : p);
    digest = sha512(...parts);
  }
  return `$6$${salt}$${encoded(digest)}`;
}

function freshSalt(): string {
  return [...randomBytes(saltLength)].map((byte) => alphabet[byte % alphabet.length]).join("");
}

/** The bytes again and again, up to a length. */
function filled(bytes: Buffer, length: number): Buffer {
  return Buffer.alloc(length, bytes);
}

/** Base64 of its own: three bytes taken from far apart make four letters, the lowest bits first. */
function encoded(digest: Buffer): string {
  let text = "";
  const letters = (value: number, count: number): void => {
    for (let rest = value, i = 0; i < count; i++, rest >>= 6) text += alphabet[rest & 63];
  };
  const byte = (at: number): number => digest[at] ?? 0;
  for (let i = 0; i < 21; i++) {
    const [a, b, c] = [i, i + 21, i + 42];
    const [high, middle, low] = i % 3 === 0 ? [a, b, c] : i % 3 === 1 ? [b, c, a] : [c, a, b];
    letters((byte(high) << 16) | (byte(middle) << 8) | byte(low), 4);
  }
  letters(byte(63), 2);
  return text;
}
