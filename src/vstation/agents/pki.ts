/**
 * The one PKI: our own CA (ECDSA P-256) signs the agent listener's certificate, anew at each start and each day, and each host's
 * certificate, against its join token and then against the certificate before. The CA lies in `pkiDir`: `ca.pem` (0600), its key and certificate in one file, and `ca.crt`, a copy
 * of the certificate for whoever has to know it. Replicas share the folder; the listener's key never leaves memory.
 * A host's certificate names the host by id and is good for every use the host has for one (it dials VStation, and other hosts
 * while an instance moves). Its QEMUs, which read a key themselves, have one of their own: the host's name as an address, and a subject that
 * is nobody's here, so that what breaks out of a guest into QEMU does not speak for the host. The host's also names the joining that it comes from, and is believed only while that is the one in the host's
 * row: joining again revokes all of an earlier one. A renewal keeps the joining and writes nothing down, so that it can be asked for
 * twice, or its answer be lost; the certificate before it is good until its own end.
 */
import { createHash, randomBytes, type webcrypto } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { isIP } from "node:net";
import type { PeerCertificate } from "node:tls";
import { join } from "node:path";
// The library keeps its registry in metadata that only this polyfill provides; it must be loaded first.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import type { CertificateUse } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { createDurably, writeDurably } from "../../lib/durable.ts";
import { wrap } from "../../lib/errors.ts";
import { readIfThere } from "../../lib/files.ts";
import type { HostId } from "../../lib/ids.ts";

const { digitalSignature, keyEncipherment } = x509.KeyUsageFlags;
const signing = new x509.KeyUsagesExtension(digitalSignature, true);

type CryptoKey = webcrypto.CryptoKey;

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const day = 86_400_000;
const caDays = 20 * 365;
const serverDays = 365;
/** The name in a replica's certificate; a host's is its id. */
export const replicaName = "VStation";
/** X.520's serialNumber in a host's subject, which node's TLS shows by that name. */
const joiningName = "2.5.4.5";

export interface ServerIdentity {
  /** The listener's certificate followed by the CA's: hosts that know only the CA's fingerprint look for it in the chain. */
  cert: string;
  key: string;
}

export class Pki {
  readonly #certificate: x509.X509Certificate;
  readonly #key: CryptoKey;

  private constructor(certificate: x509.X509Certificate, key: CryptoKey) {
    this.#certificate = certificate;
    this.#key = key;
  }

  /**
   * Opens the CA in this folder, making it at the first start. Two replicas that do so together end up with one. `mayMake`: no
   * VStation has served with this database yet. Where one has, a CA that is missing must be brought: no host would believe another.
   */
  static async open(directory: string, mayMake = true): Promise<Pki> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    for (;;) {
      const found = await load(directory);
      if (found === undefined) {
        if (!mayMake) {
          throw new Error(
            `${join(directory, "ca.pem")} is missing, and this zone has a CA: a replica gets the folder from the first one, ` +
              "a lost one comes back from a backup; with a new CA every host would have to join again",
          );
        }
        await create(directory);
        continue;
      }
      await publish(directory, found.certificate);
      return new Pki(found.certificate, found.key);
    }
  }

  get caPem(): string {
    return this.#certificate.toString("pem");
  }

  /** SHA-256 of the CA certificate (DER), hex: what a host is told beside its token. */
  get fingerprint(): string {
    return createHash("sha256").update(Buffer.from(this.#certificate.rawData)).digest("hex");
  }

  /** A fresh certificate for the agent listener under these names and addresses. */
  async serverIdentity(names: readonly string[]): Promise<ServerIdentity> {
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const certificate = await this.#sign(keys.publicKey, `CN=${replicaName}`, serverDays, [
      // Replicas also dial each other.
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth, x509.ExtendedKeyUsage.clientAuth]),
      new x509.SubjectAlternativeNameExtension(
        names.map((value) => ({ type: isIP(value) === 0 ? "dns" : "ip", value }) as const),
      ),
    ]);
    return {
      cert: `${certificate.toString("pem")}\n${this.caPem}\n`,
      key: await exportKey(keys.privateKey),
    };
  }

  /** Checks a host's certificate request: its form, and that who asks has the key. Returns the public key's fingerprint. */
  async checkRequest(csr: string): Promise<{ request: x509.Pkcs10CertificateRequest; keyHash: string }> {
    let request: x509.Pkcs10CertificateRequest;
    try {
      request = new x509.Pkcs10CertificateRequest(csr);
      if (!(await request.verify())) throw new Error("its signature does not match its key");
    } catch (cause) {
      throw failure("InvalidParameter", "the certificate request is not readable or not signed by its own key", {
        cause,
      });
    }
    return { request, keyHash: createHash("sha256").update(Buffer.from(request.publicKey.rawData)).digest("hex") };
  }

  /** Signs a host's certificate under its id, for a joining and so many days; or one for its QEMUs. */
  async signHost(
    request: x509.Pkcs10CertificateRequest,
    { hostId, joining, days, use }: { hostId: HostId; joining: string; days: number; use: CertificateUse },
  ): Promise<string> {
    const joined = new x509.Name([{ CN: [hostId] }, { [joiningName]: [joining] }]);
    const subject = use === "host" ? joined.toString() : `CN=QEMU of ${hostId}`;
    const extensions = [
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth]),
      new x509.SubjectAlternativeNameExtension([{ type: "dns", value: hostId }]),
    ];
    // QEMU takes no certificate whose key may not encipher keys, of whatever kind the key is.
    const usage = use === "qemu" ? new x509.KeyUsagesExtension(digitalSignature | keyEncipherment, true) : signing;
    return (await this.#sign(request.publicKey, subject, days, extensions, usage)).toString("pem");
  }

  /** What a host's certificate says of it; those from before there were renewals are their joining themselves. */
  static namedIn({ subject, serialNumber }: PeerCertificate): { name: string; joining: string } {
    const said = subject as Readonly<Record<string, string | string[] | undefined>> | undefined;
    const [name, joining] = [said?.["CN"], said?.["serialNumber"]];
    return {
      name: typeof name === "string" ? name : "",
      joining: typeof joining === "string" ? joining : serialNumber,
    };
  }

  #sign(
    publicKey: CryptoKey | x509.PublicKey,
    subject: string,
    days: number,
    extensions: x509.Extension[],
    usage = signing,
  ): Promise<x509.X509Certificate> {
    return x509.X509CertificateGenerator.create({
      serialNumber: newSerial(),
      subject,
      issuer: this.#certificate.subject,
      // Hosts' clocks differ from ours; and its times tell a host when to renew it.
      notBefore: new Date(Date.now() - Math.min(1, days / 10) * day),
      notAfter: new Date(Date.now() + days * day),
      publicKey,
      signingKey: this.#key,
      signingAlgorithm: algorithm,
      extensions: [new x509.BasicConstraintsExtension(false, undefined, true), usage, ...extensions],
    });
  }
}

/** Names a certificate, or a joining. Positive, and never with a leading zero that tools print differently. */
export function newSerial(): string {
  return `4${randomBytes(16).toString("hex").slice(1)}`;
}

interface Authority {
  certificate: x509.X509Certificate;
  key: CryptoKey;
}

async function load(directory: string): Promise<Authority | undefined> {
  const text = await readIfThere(join(directory, "ca.pem"));
  if (text === undefined) return undefined;
  try {
    const [key, certificate] = x509.PemConverter.decode(text);
    if (key === undefined || certificate === undefined) throw new Error("it must hold a key and a certificate");
    return {
      certificate: new x509.X509Certificate(certificate),
      key: await crypto.subtle.importKey("pkcs8", key, algorithm, false, ["sign"]),
    };
  } catch (error) {
    throw wrap(`reading ${join(directory, "ca.pem")}`, error);
  }
}

/** Makes a CA; if another start was faster, that one's is the CA. */
async function create(directory: string): Promise<void> {
  const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
  const certificate = await x509.X509CertificateGenerator.createSelfSigned({
    serialNumber: newSerial(),
    name: `CN=VStation CA ${randomBytes(4).toString("hex")}`,
    notBefore: new Date(Date.now() - day),
    notAfter: new Date(Date.now() + caDays * day),
    keys,
    signingAlgorithm: algorithm,
    extensions: [
      new x509.BasicConstraintsExtension(true, 0, true),
      new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign | x509.KeyUsageFlags.cRLSign, true),
      await x509.SubjectKeyIdentifierExtension.create(keys.publicKey),
    ],
  });
  const pem = `${await exportKey(keys.privateKey)}\n${certificate.toString("pem")}\n`;
  crashPoint("agents.pki.made");
  await createDurably(join(directory, "ca.pem"), pem);
  crashPoint("agents.pki.linked");
}

/** Every start writes the same text, and only where it is not there yet. */
async function publish(directory: string, certificate: x509.X509Certificate): Promise<void> {
  const file = join(directory, "ca.crt");
  const text = `${certificate.toString("pem")}\n`;
  if ((await readIfThere(file)) !== text) await writeDurably(file, text, 0o644);
}

async function exportKey(key: CryptoKey): Promise<string> {
  return x509.PemConverter.encode(await crypto.subtle.exportKey("pkcs8", key), "PRIVATE KEY");
}

/** Serial as node's TLS prints it, compared without case or leading zeros. */
export function sameSerial(a: string, b: string): boolean {
  const norm = (text: string): string => text.toLowerCase().replace(/^0+/, "");
  return norm(a) === norm(b);
}
