/** Commands in a guest by OpenSSH's own client, as its owner would give them. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const options = ["StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "ConnectTimeout=60"];

/** To log in takes an emulated guest half a minute on a busy machine. */
const commandMs = 180_000;

/** A file that only its owner reads, in a folder of its own. */
class Secret {
  readonly #directory = mkdtempSync(join(tmpdir(), "vstation-ssh-"));
  readonly file: string;

  constructor(content: string, mode: number) {
    this.file = join(this.#directory, "secret");
    writeFileSync(this.file, content, { mode });
  }

  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }
}

/** A private key on the disk, where ssh wants it; remove it with {@link SshKey.remove}. */
export class SshKey {
  readonly #secret: Secret;

  constructor(privateKey: string) {
    this.#secret = new Secret(privateKey, 0o600);
  }

  /** What ssh is called with. */
  arguments(login: string, command: string): string[] {
    return ["-i", this.#secret.file, ...[...options, "BatchMode=yes"].flatMap((each) => ["-o", each]), login, command];
  }

  /** Standard output of a command that ends well; anything else rejects with what ssh said. */
  run(login: string, command: string, timeoutMs = commandMs): Promise<string> {
    return ssh(login, this.arguments(login, command), process.env, timeoutMs);
  }

  remove(): void {
    this.#secret.remove();
  }
}

/** A password and nothing else, which ssh asks a program for. */
export class SshPassword {
  readonly text: string;
  readonly #secret: Secret;

  /** Without quotes: it is written into a script. */
  constructor(text: string) {
    this.text = text;
    this.#secret = new Secret(`#!/bin/sh\necho '${text}'\n`, 0o700);
  }

  run(login: string, command: string, timeoutMs = commandMs): Promise<string> {
    const only = ["PubkeyAuthentication=no", "PreferredAuthentications=password", "NumberOfPasswordPrompts=1"];
    const given = [...[...options, ...only].flatMap((each) => ["-o", each]), login, command];
    const env = { ...process.env, SSH_ASKPASS: this.#secret.file, SSH_ASKPASS_REQUIRE: "force" };
    return ssh(login, given, env, timeoutMs);
  }

  remove(): void {
    this.#secret.remove();
  }
}

function ssh(login: string, given: string[], env: NodeJS.ProcessEnv, timeout: number): Promise<string> {
  return new Promise((resolve, reject) => {
    execFile("ssh", given, { timeout, env }, (error, stdout, stderr) => {
      if (error === null) resolve(stdout.trim());
      else reject(new Error(`ssh ${login}: ${stderr.trim()}`, { cause: error }));
    });
  });
}
