/**
 * The TLS files of this host's QEMUs, by which guests' memory and disks go from host to host: the folder that libvirt names to each QEMU
 * (`migrate_tls_x509_cert_dir`), with VStation's CA, and a key with its certificate under the names that QEMU looks for.
 *
 * The key is not the host's own: QEMU reads it, and what a guest can make its QEMU do shall not be done in the host's name. Files belong
 * to whom the folder belongs to, which set-up gives to the user of QEMU, and nobody else reads them. The key stays when the certificate is
 * renewed, so whatever a QEMU reads in the middle of that fits together; it is read for each move anew, by QEMU and by `check`.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { chown, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { crashPoint } from "../../lib/crash-point.ts";
import { writeDurably } from "../../lib/durable.ts";
import { Failure, formatError, isFailure } from "../../lib/errors.ts";
import { readIfThere } from "../../lib/files.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { newKey } from "../link/csr.ts";
import { certify, type Identity, type JoinOptions } from "../link/identity.ts";
import { isDue, lifeOf, waitMs } from "../link/renewal.ts";

export interface QemuCertificateOptions extends Pick<JoinOptions, "name" | "servers" | "caFingerprint"> {
  readonly directory: string;
  readonly identity: () => Identity | undefined;
  readonly log: Log;
  /** There is another one, or getting one failed. */
  readonly onChange: () => void;
}

export interface TlsFiles {
  readonly ca: string | undefined;
  readonly key: string | undefined;
  readonly certificate: string | undefined;
}

const firstRetryMs = 500;
const longestRetryMs = 15_000;

export class QemuCertificate {
  readonly #options: QemuCertificateOptions;
  readonly #early = Math.random() * 0.06;
  #trouble: string | null = null;

  constructor(options: QemuCertificateOptions) {
    this.#options = options;
  }

  /** Throws `MigrationNotTrusted` unless QEMU can show the other host who it is. */
  async check(now = Date.now()): Promise<void> {
    const why = await this.trouble(now);
    if (why !== null) throw notTrusted(why);
  }

  /** Why guests cannot be moved now, for people. */
  async trouble(now = Date.now()): Promise<string | null> {
    const identity = this.#options.identity();
    if (identity === undefined) return "this host has no certificate yet";
    const wrong = wrongIn(await this.#read(), identity, now);
    if (wrong === null) return null;
    return this.#trouble === null ? wrong : `${wrong}; getting another one failed: ${this.#trouble}`;
  }

  /** Keeps a certificate there; ends when the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    for (let failures = 0; !signal.aborted;) {
      const rest = await this.#turn().then(
        (ms) => {
          failures = 0;
          return ms;
        },
        (error: unknown) => {
          this.#failed(error);
          return backoff(failures++, firstRetryMs, longestRetryMs);
        },
      );
      await sleep(rest, signal).catch(() => undefined);
    }
  }

  /** Returns when to look again. */
  async #turn(): Promise<number> {
    const { identity } = this.#options;
    const held = identity();
    if (held === undefined) return firstRetryMs;
    await this.#own();
    const files = await this.#read();
    const { certificate } = files;
    if (certificate !== undefined && wrongIn(files, held, Date.now()) === null) {
      const life = lifeOf({ certificate });
      if (!isDue(life, this.#early, Date.now())) return waitMs(life, this.#early, Date.now());
    }
    const made = await this.#renew(held, files.key);
    return waitMs(lifeOf({ certificate: made }), this.#early, Date.now());
  }

  async #renew(held: Identity, kept: string | undefined): Promise<string> {
    const { log, onChange } = this.#options;
    const key = kept !== undefined && isKey(kept) ? kept : newKey();
    const { certificate, ca } = await certify(this.#options, held, { key, use: "qemu" });
    const texts = { "ca-cert.pem": ca, "client-key.pem": key, "client-cert.pem": certificate };
    for (const [name, text] of Object.entries(texts)) await this.#write(name, text);
    crashPoint("migration.certificate.client-written");
    // The last one speaks for all.
    await this.#write("server-key.pem", key);
    await this.#write("server-cert.pem", certificate);
    await this.#own();
    this.#trouble = null;
    log.info({ ends: lifeOf({ certificate }).ends }, "QEMU has a certificate for guests that move");
    onChange();
    return certificate;
  }

  #failed(error: unknown): void {
    const { log, onChange } = this.#options;
    this.#trouble = formatError(error);
    log.warn({ reason: this.#trouble }, "QEMU has no new certificate for guests that move");
    onChange();
  }

  async #read(): Promise<TlsFiles> {
    const read = (name: string): Promise<string | undefined> => readIfThere(join(this.#options.directory, name));
    const [ca, key, certificate] = await Promise.all(["ca-cert.pem", "server-key.pem", "server-cert.pem"].map(read));
    return { ca, key, certificate };
  }

  async #write(name: string, text: string): Promise<void> {
    await writeDurably(join(this.#options.directory, name), text);
  }

  async #own(): Promise<void> {
    const { directory } = this.#options;
    const { uid, gid } = await stat(directory);
    for (const name of await readdir(directory)) await chown(join(directory, name), uid, gid);
  }
}

export function notTrusted(message: string, cause?: unknown): Failure {
  return new Failure("unavailable", "MigrationNotTrusted", message, { cause });
}

export function isNotTrusted(error: unknown): boolean {
  return isFailure(error) && error.code === "MigrationNotTrusted";
}

/** What another host, or QEMU itself, would find wrong with them; null: nothing. */
export function wrongIn({ ca, key, certificate }: TlsFiles, identity: Identity, now: number): string | null {
  if (ca === undefined || key === undefined || certificate === undefined) return "QEMU has no certificate yet";
  if (ca.trim() !== identity.ca.trim()) return "QEMU's certificate is of another CA";
  let own: X509Certificate;
  try {
    own = new X509Certificate(certificate);
    if (!own.checkPrivateKey(createPrivateKey(key))) return "QEMU's certificate is not of its key";
    if (!own.verify(new X509Certificate(ca).publicKey)) return "QEMU's certificate is of another CA";
  } catch {
    return "QEMU's certificate cannot be read";
  }
  if (own.checkHost(identity.hostId) === undefined) return "QEMU's certificate is another host's";
  if (now < new Date(own.validFrom).getTime()) return `QEMU's certificate is good from ${own.validFrom} on`;
  return now >= new Date(own.validTo).getTime() ? `QEMU's certificate has ended: ${own.validTo}` : null;
}

function isKey(text: string): boolean {
  try {
    createPrivateKey(text);
    return true;
  } catch {
    return false;
  }
}
