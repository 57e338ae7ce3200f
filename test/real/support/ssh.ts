/** Commands in a guest by OpenSSH's own client, as its owner would give them. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A private key on the disk, where ssh wants it; remove it with {@link SshKey.remove}. */
export class SshKey {
  readonly #directory = mkdtempSync(join(tmpdir(), "vstation-ssh-"));
  readonly #file: string;

  constructor(privateKey: string) {
    this.#file = join(this.#directory, "key");
    writeFileSync(this.#file, privateKey, { mode: 0o600 });
  }

  /** What ssh is called with. */
  arguments(login: string, command: string): string[] {
    const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "BatchMode=yes", "ConnectTimeout=20"];
    return ["-i", this.#file, ...options.flatMap((each) => ["-o", each]), login, command];
  }

  /** Standard output of a command that ends well; anything else rejects with what ssh said. */
  run(login: string, command: string, timeoutMs = 60_000): Promise<string> {
    return new Promise((resolve, reject) => {
      execFile("ssh", this.arguments(login, command), { timeout: timeoutMs }, (error, stdout, stderr) => {
        if (error === null) resolve(stdout.trim());
        else reject(new Error(`ssh ${login}: ${stderr.trim()}`, { cause: error }));
      });
    });
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}
