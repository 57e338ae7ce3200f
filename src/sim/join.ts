/** Joining VStation as a simulated host does: the real certificate request over real TLS, pinned to the CA's fingerprint. */
import { createHash, X509Certificate } from "node:crypto";
import { request } from "node:https";
import { connect, type DetailedPeerCertificate } from "node:tls";
// The library keeps its registry in metadata that only this polyfill provides; it must be loaded first.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { joinAnswerSchema } from "../api/agent.ts";
import { Failure } from "../lib/errors.ts";
import type { HostId } from "../lib/ids.ts";

export interface SimIdentity {
  hostId: HostId;
  key: string;
  certificate: string;
  ca: string;
}

export interface SimJoin {
  /** `address:port` of the agent listener. */
  server: string;
  caFingerprint: string;
  token: string;
  name: string;
  /** A key made earlier, to ask again after a lost answer. */
  keys?: HostKeys;
}

export type HostKeys = Awaited<ReturnType<typeof makeHostKeys>>;

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;

export function makeHostKeys() {
  return crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
}

/** Throws a Failure with VStation's own code when it refuses. */
export async function simJoin(join: SimJoin): Promise<SimIdentity> {
  const keys = join.keys ?? (await makeHostKeys());
  const csr = await x509.Pkcs10CertificateRequestGenerator.create({
    name: `CN=${join.name}`,
    keys,
    signingAlgorithm: algorithm,
  });
  const ca = await pinnedCa(join.server, join.caFingerprint);
  const { token, name } = join;
  const { status, text } = await post(join.server, ca, JSON.stringify({ token, name, csr: csr.toString("pem") }));
  const body: unknown = JSON.parse(text);
  if (status !== 200) {
    const { code, message } = body as { code: string; message: string };
    throw new Failure("forbidden", code, message);
  }
  const answer = joinAnswerSchema.parse(body);
  const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
  return { ...answer, key: x509.PemConverter.encode(pkcs8, "PRIVATE KEY") };
}

function pinnedCa(server: string, fingerprint: string): Promise<string> {
  const { hostname: host, port } = new URL(`https://${server}`);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false, timeout: 10_000 }, () => {
      const found = chainOf(socket.getPeerCertificate(true)).find(
        (der) => createHash("sha256").update(der).digest("hex") === fingerprint,
      );
      socket.destroy();
      if (found === undefined) reject(new Failure("unauthenticated", "CaNotShown", `${server} shows another CA`));
      else resolve(new X509Certificate(found).toString());
    });
    socket.on("timeout", () => socket.destroy(new Error("no answer in time")));
    socket.on("error", reject);
  });
}

function chainOf(leaf: DetailedPeerCertificate): Buffer[] {
  const chain: Buffer[] = [];
  for (let one: DetailedPeerCertificate | undefined = leaf; one?.raw && chain.length < 8; one = one.issuerCertificate) {
    chain.push(one.raw);
    if (one === one.issuerCertificate) break;
  }
  return chain;
}

function post(server: string, ca: string, body: string): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const sent = request(
      `https://${server}/join`,
      { method: "POST", ca, headers, timeout: 10_000, agent: false },
      (answer) => {
        const parts: Buffer[] = [];
        answer.on("data", (part: Buffer) => parts.push(part));
        answer.on("error", reject);
        answer.on("end", () => resolve({ status: answer.statusCode ?? 0, text: Buffer.concat(parts).toString() }));
      },
    );
    sent.on("timeout", () => sent.destroy(new Error("no answer in time")));
    sent.on("error", reject);
    sent.end(body);
  });
}
