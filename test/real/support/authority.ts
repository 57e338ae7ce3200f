/** A certificate authority as an operator has one, by openssl: for what is not VStation's own PKI. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export class Authority {
  readonly #dir = mkdtempSync(join(tmpdir(), "vstation-ca-"));

  constructor() {
    const args = ["req", "-x509", "-days", "30", "-subj", "/CN=An operator's CA"];
    this.#openssl(...args, "-keyout", "ca.key", "-out", "ca.crt", ...newKey);
  }

  get certificate(): string {
    return readFileSync(join(this.#dir, "ca.crt"), "utf8");
  }

  /** A key with a certificate for it: under these names and addresses, or of this common name for a client. */
  issue(commonName: string, names: readonly string[] = []): { cert: string; key: string } {
    const alternative = names.map((name) => `${/^[\d.]+$/.test(name) ? "IP" : "DNS"}:${name}`).join(",");
    writeFileSync(join(this.#dir, "extensions"), alternative === "" ? "" : `subjectAltName=${alternative}\n`);
    this.#openssl("req", "-subj", `/CN=${commonName}`, "-keyout", "key", "-out", "request", ...newKey);
    const signer = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30", "-extfile", "extensions"];
    this.#openssl("x509", "-req", "-in", "request", "-out", "cert", ...signer);
    return { cert: readFileSync(join(this.#dir, "cert"), "utf8"), key: readFileSync(join(this.#dir, "key"), "utf8") };
  }

  destroy(): void {
    rmSync(this.#dir, { recursive: true, force: true });
  }

  #openssl(...args: string[]): void {
    execFileSync("openssl", args, { cwd: this.#dir, stdio: ["ignore", "ignore", "pipe"] });
  }
}

const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
