/**
 * The file that is all a client needs: where the APIs are and the secrets for them. Whole or not at all, 0600, and readable by
 * whoever owns its folder: under sudo that is the person, not root.
 */
import { chown, stat } from "node:fs/promises";
import { dirname } from "node:path";
import { writeDurably } from "../lib/durable.ts";

export interface Credentials {
  endpoint: string;
  secretId: string;
  secretKey: string;
  region: string;
  zone: string;
  nativeEndpoint: string;
  nativeToken: string;
}

export async function writeCredentials(file: string, credentials: Credentials): Promise<void> {
  await writeDurably(file, `${JSON.stringify(credentials, null, 2)}\n`, 0o600);
  const { uid, gid } = await stat(dirname(file));
  if (process.getuid?.() === 0 && uid !== 0) await chown(file, uid, gid);
}
