/** A public key that nobody has the private half of: to be imported, listed and deleted. */
import { randomBytes } from "node:crypto";

export function newPublicKey(): string {
  const fields = [Buffer.from("ssh-ed25519"), randomBytes(32)].flatMap(sized);
  return `ssh-ed25519 ${Buffer.concat(fields).toString("base64")}`;
}

/** As the wire format of ssh has it: length, then bytes. */
function sized(bytes: Buffer): Buffer[] {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return [length, bytes];
}
