import { X509Certificate } from "node:crypto";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pki } from "./pki.ts";
import * as x509 from "@peculiar/x509";
import { newId } from "../../lib/ids.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "vstation-pki-"))));
afterEach(() => rmSync(dir, { recursive: true }));

describe("the CA", () => {
  it("is one, however many replicas make it at the same moment", async () => {
    const opened = await Promise.all(Array.from({ length: 8 }, () => Pki.open(dir)));
    expect(new Set(opened.map(({ fingerprint }) => fingerprint)).size).toBe(1);
    expect(readdirSync(dir).toSorted()).toEqual(["ca.crt", "ca.pem"]);
  });

  it("stays what it is, and its certificate is given out again", async () => {
    const first = await Pki.open(dir);
    rmSync(join(dir, "ca.crt"));
    expect((await Pki.open(dir)).fingerprint).toBe(first.fingerprint);
    expect(readFileSync(join(dir, "ca.crt"), "utf8").trim()).toBe(first.caPem.trim());
  });

  it("keeps its key to itself", async () => {
    await Pki.open(dir);
    expect(statSync(join(dir, "ca.pem")).mode & 0o777).toBe(0o600);
    expect(readFileSync(join(dir, "ca.crt"), "utf8")).not.toContain("PRIVATE KEY");
  });

  it("is not made anew over one that cannot be read", async () => {
    writeFileSync(join(dir, "ca.pem"), "half a k");
    await expect(Pki.open(dir)).rejects.toThrow("ca.pem");
    expect(readFileSync(join(dir, "ca.pem"), "utf8")).toBe("half a k");
  });

  it("is not made anew where there was one that is lost, or is at another replica", async () => {
    await expect(Pki.open(dir, false)).rejects.toThrow(/ca\.pem is missing.*backup/);
    expect(readdirSync(dir)).toEqual([]);
    const { fingerprint } = await Pki.open(dir);
    expect((await Pki.open(dir, false)).fingerprint).toBe(fingerprint);
  });

  it("vouches for the listener under its names", async () => {
    const pki = await Pki.open(dir);
    const { cert } = await pki.serverIdentity(["10.0.0.1", "vstation.example"]);
    const listener = new X509Certificate(cert);
    expect(listener.verify(new X509Certificate(pki.caPem).publicKey)).toBe(true);
    expect([listener.checkIP("10.0.0.1"), listener.checkHost("vstation.example")]).not.toContain(undefined);
    expect(listener.checkIP("10.0.0.2")).toBeUndefined();
  });

  it("vouches for a host's QEMUs under the host's name, but does not take them for the host", async () => {
    const pki = await Pki.open(dir);
    const hostId = newId("host");
    const { publicKey, privateKey } = await crypto.subtle.generateKey({ name: "ECDSA", namedCurve: "P-256" }, true, [
      "sign",
      "verify",
    ]);
    const request = await x509.Pkcs10CertificateRequestGenerator.create({
      keys: { publicKey, privateKey },
      signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
    });
    const named = async (use: "host" | "qemu"): Promise<[string, unknown, unknown]> => {
      const pem = await pki.signHost(request, { hostId, joining: "4a", days: 1, use });
      const certificate = new X509Certificate(pem);
      const { name } = Pki.namedIn(certificate.toLegacyObject());
      return [
        name,
        certificate.checkHost(hostId),
        new x509.X509Certificate(pem).getExtension(x509.KeyUsagesExtension)?.usages,
      ];
    };
    const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
    expect(await named("host")).toEqual([hostId, hostId, digitalSignature]);
    expect(await named("qemu")).toEqual([`QEMU of ${hostId}`, hostId, digitalSignature | keyEncipherment]);
  });
});
