/**
 * SSH keys in the two forms that matter: PEM for the one who gets the private half, OpenSSH's one line for `authorized_keys`.
 * What is imported is decoded and written anew, so nothing but a key (no options, no second line) reaches a guest.
 */
import { createPublicKey, generateKeyPair, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { failure } from "../../core/failure-codes.ts";

const generate = promisify(generateKeyPair);

const smallestRsaBits = 2048;
const largestRsaBits = 16_384;

/** RSA, because that is what every client of the CVM API can use; PEM (PKCS#1), as ssh has always read it. */
export async function makeKeyPair(): Promise<{ publicKey: string; privateKey: string }> {
  const { publicKey, privateKey } = await generate("rsa", { modulusLength: smallestRsaBits });
  return {
    publicKey: rsaLine(publicKey),
    privateKey: privateKey.export({ type: "pkcs1", format: "pem" }).toString(),
  };
}

/** The key in its canonical form with its comment; throws PublicKeyInvalid. */
export function readPublicKey(text: string): string {
  const [type, base64, ...comment] = text.trim().split(/[ \t]+/);
  const blob = Buffer.from(base64 ?? "", "base64");
  const line = /[\r\n\0]/.test(text.trim()) ? undefined : canonical(type, blob);
  if (line === undefined) {
    throw failure("PublicKeyInvalid", "a public key is one line, ssh-rsa of at least 2048 bits or ssh-ed25519");
  }
  const note = comment
    .join(" ")
    .replaceAll(/[^\x20-\x7e]/g, "")
    .slice(0, 200);
  return note === "" ? line : `${line} ${note}`;
}

function canonical(type: string | undefined, blob: Buffer): string | undefined {
  const fields = readFields(blob);
  if (fields === undefined || fields[0]?.toString("latin1") !== type) return undefined;
  try {
    if (type === "ssh-rsa" && fields.length === 3) {
      const [, e, n] = fields as [Buffer, Buffer, Buffer];
      const jwk = { kty: "RSA", e: unsigned(e), n: unsigned(n) };
      const key = createPublicKey({ key: jwk, format: "jwk" });
      const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
      return bits >= smallestRsaBits && bits <= largestRsaBits ? rsaLine(key) : undefined;
    }
    if (type === "ssh-ed25519" && fields.length === 2 && fields[1]?.length === 32) {
      return `ssh-ed25519 ${writeFields([Buffer.from("ssh-ed25519"), fields[1]]).toString("base64")}`;
    }
  } catch {
    return undefined;
  }
  return undefined;
}

function rsaLine(key: KeyObject): string {
  const { e = "", n = "" } = key.export({ format: "jwk" });
  const blob = writeFields([Buffer.from("ssh-rsa"), signed(e), signed(n)]);
  return `ssh-rsa ${blob.toString("base64")}`;
}

/** SSH numbers are signed: a leading zero keeps a high bit from meaning "negative". */
function signed(base64url: string): Buffer {
  const bytes = Buffer.from(base64url, "base64url");
  return (bytes[0] ?? 0) >= 0x80 ? Buffer.concat([Buffer.from([0]), bytes]) : bytes;
}

function unsigned(bytes: Buffer): string {
  return (bytes[0] === 0 ? bytes.subarray(1) : bytes).toString("base64url");
}

function readFields(blob: Buffer): Buffer[] | undefined {
  const fields: Buffer[] = [];
  for (let at = 0; at < blob.length;) {
    if (at + 4 > blob.length || fields.length > 4) return undefined;
    const length = blob.readUInt32BE(at);
    if (at + 4 + length > blob.length) return undefined;
    fields.push(blob.subarray(at + 4, at + 4 + length));
    at += 4 + length;
  }
  return fields;
}

function writeFields(fields: readonly Buffer[]): Buffer {
  return Buffer.concat(
    fields.flatMap((field) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(field.length);
      return [length, field];
    }),
  );
}
