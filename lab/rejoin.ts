/**
 * Hosts that were taken out of VStation by `./vstation host remove`. A lab has the hosts that it was asked for, so at a start each of
 * these is invited again: a new token is put into its folder, and its Compute, which runs or boots, joins by it (renewal.ts there).
 * VStation takes out only what holds nothing, so there is nothing to lose; what its operator wants fewer of is said by `--hosts`.
 *
 * That a host is not listed is no sign: it may be about to join for the first time. So that it was seen is kept in a file of its folder.
 * Died anywhere here, the next start does it again; a token that nobody has used ends by itself.
 */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { NativeClient } from "../src/api/native/client.ts";
import { isFailure } from "../src/lib/errors.ts";
import { keep, writeWhole, type Home } from "./home.ts";
import { joinTokenFile } from "./host/host.ts";
import type { Credentials } from "./vstation.ts";

/** The host if it is to be invited: it was listed once, and is not now. Remembers those that are. */
export function takenOut(home: Home, name: string, listed: boolean): boolean {
  const seen = join(home.hostDir(name), "seen");
  if (listed) keep(seen, () => "");
  return !listed && existsSync(seen);
}

/** False while VStation does not answer. */
export async function inviteAgain(home: Home, credentials: Credentials, name: string): Promise<boolean> {
  const client = new NativeClient({ endpoint: credentials.nativeEndpoint, token: credentials.nativeToken });
  try {
    const { token } = await client.call("hostInvite", { request: { name } });
    writeWhole(joinTokenFile(home, name), token, 0o600);
    return true;
  } catch (error) {
    if (isFailure(error, "unavailable", "timeout")) return false;
    throw error;
  }
}
