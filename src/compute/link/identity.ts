/**
 * Who this host is to VStation: a key made here that never leaves, and a certificate for it from VStation's CA.
 *
 * Joining: the key is made and kept (0600) before anything is sent, so that a join whose answer was lost leaves the same key for
 * the next try. The first contact is pinned: the server must show a chain that holds the CA with the fingerprint we were given, and
 * its own certificate must verify against that CA and carry the name we dialled; only then is the token sent. When the certificate
 * is renewed is said in renewal.ts.
 */
import { createHash, createPrivateKey, X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { connect, type DetailedPeerCertificate } from "node:tls";
import * as z from "zod";
import { joinAnswerSchema, type CertificateUse, type JoinAnswer } from "../../api/agent.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { Failure, wrap } from "../../lib/errors.ts";
import { parseId, type HostId } from "../../lib/ids.ts";
import { newKey, signingRequest } from "./csr.ts";
import { makeDurableDirectory, readDurable, writeDurably } from "../../lib/durable.ts";

export interface Identity {
  readonly hostId: HostId;
  readonly key: string;
  readonly certificate: string;
  readonly ca: string;
}

export interface JoinOptions {
  readonly directory: string;
  readonly name: string;
  readonly servers: readonly string[];
  readonly caFingerprint: string;
  readonly joinTokenFile: string;
}

const deadlineMs = 10_000;

/** The identity that lies here, or undefined if this host has not joined yet. */
export async function loadIdentity(directory: string, caFingerprint: string): Promise<Identity | undefined> {
  const answer = await readDurable(join(directory, "host.json"), joinAnswerSchema);
  if (answer === undefined) return undefined;
  if (fingerprint(answer.ca) !== caFingerprint) {
    throw new Failure("invalid", "CaChanged", "this host joined a VStation with another CA than the configured one", {
      detail: { directory, configured: caFingerprint },
    });
  }
  const key = await readFile(join(directory, "host.key"), "utf8");
  return { hostId: answer.hostId, key, certificate: answer.certificate, ca: answer.ca };
}

/** Joins by the first server that answers; a refusal is a Failure with VStation's own code. */
export async function joinVstation(options: JoinOptions): Promise<Identity> {
  await makeDurableDirectory(options.directory, 0o700);
  const key = await ensureKey(join(options.directory, "host.key"));
  crashPoint("link.join.key-made");
  const token = (
    await readFile(options.joinTokenFile, "utf8").catch((error: unknown) => {
      throw wrap("reading the join token", error);
    })
  ).trim();
  const csr = signingRequest(options.name, key);
  return byAnyServer("joining VStation", options.servers, async (server) => {
    const ca = await pinnedCa(server, options.caFingerprint);
    const answer = await post(server, "/join", { ca }, JSON.stringify({ token, name: options.name, csr }));
    crashPoint("link.join.answered");
    checkAnswer(answer, key, options.caFingerprint);
    await keep(options.directory, answer);
    crashPoint("link.join.kept");
    return { hostId: answer.hostId, key, certificate: answer.certificate, ca: answer.ca };
  });
}

/** Another certificate for the same key, asked for under the one that is held; when it resolves, the new one is on the disk. */
export async function renewIdentity(options: Omit<JoinOptions, "joinTokenFile">, held: Identity): Promise<Identity> {
  const answer = await certify(options, held, { key: held.key, use: "host" });
  crashPoint("link.renew.answered");
  await keep(options.directory, answer);
  crashPoint("link.renew.kept");
  return { ...held, certificate: answer.certificate };
}

/** Another certificate under the one that is held, for this key. */
export async function certify(
  { name, servers, caFingerprint }: Pick<JoinOptions, "name" | "servers" | "caFingerprint">,
  { key, ca, certificate: cert, hostId }: Identity,
  wanted: { readonly key: string; readonly use: CertificateUse },
): Promise<JoinAnswer> {
  const csr = signingRequest(name, wanted.key);
  return byAnyServer("renewing a certificate of the host", servers, async (server) => {
    const answer = await post(server, "/renew", { ca, cert, key }, JSON.stringify({ csr, use: wanted.use }));
    checkAnswer(answer, wanted.key, caFingerprint);
    if (answer.hostId !== hostId) {
      throw new Failure("invalid", "CertificateWrong", "VStation's answer is another host's");
    }
    return answer;
  });
}

/** One rename: a reader finds what was there before or the new one. */
function keep(directory: string, answer: JoinAnswer): Promise<void> {
  return writeDurably(join(directory, "host.json"), `${JSON.stringify(answer)}\n`);
}

/** By the first server that answers; one that refuses speaks for all of them. */
async function byAnyServer<T>(
  what: string,
  servers: readonly string[],
  work: (server: string) => Promise<T>,
): Promise<T> {
  let last: unknown;
  for (const server of servers) {
    try {
      return await work(server);
    } catch (error) {
      if (error instanceof Failure && error.kind !== "unavailable" && error.kind !== "timeout") throw error;
      last = error;
    }
  }
  throw wrap(what, last);
}

async function ensureKey(file: string): Promise<string> {
  try {
    return await readFile(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw wrap("reading the host's key", error);
  }
  const pem = newKey();
  await writeDurably(file, pem);
  return pem;
}

/** Looks at the chain that the server shows, without trusting it, and returns the CA in it whose fingerprint is the known one. */
async function pinnedCa(server: string, wanted: string): Promise<string> {
  const { host, port } = splitAddress(server);
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, rejectUnauthorized: false, timeout: deadlineMs, ...serverName(host) }, () => {
      for (const der of chainOf(socket.getPeerCertificate(true))) {
        if (createHash("sha256").update(der).digest("hex") !== wanted) continue;
        socket.destroy();
        return resolve(new X509Certificate(der).toString());
      }
      socket.destroy();
      return reject(
        new Failure("unauthenticated", "CaNotShown", `${server} does not show the CA with the configured fingerprint`),
      );
    });
    socket.on("timeout", () => socket.destroy(new Error(`no answer within ${deadlineMs} ms`)));
    socket.on("error", (cause) =>
      reject(new Failure("unavailable", "ServerAway", `${server} is not reachable`, { cause })),
    );
  });
}

function chainOf(leaf: DetailedPeerCertificate): Buffer[] {
  const chain: Buffer[] = [];
  for (let one: DetailedPeerCertificate | undefined = leaf; one?.raw && chain.length < 8; one = one.issuerCertificate) {
    if (chain.some((der) => der.equals(one?.raw ?? Buffer.alloc(0)))) break;
    chain.push(one.raw);
  }
  return chain;
}

const refusalSchema = z.object({ code: z.string().max(128), message: z.string().max(1024) });

function post(
  server: string,
  path: "/join" | "/renew",
  tls: { ca: string; cert?: string; key?: string },
  body: string,
): Promise<JoinAnswer> {
  const { host, port } = splitAddress(server);
  return new Promise((resolve, reject) => {
    const away = (cause: unknown): void => {
      reject(
        new Failure("unavailable", "ServerAway", `${server} did not answer the request for a certificate`, { cause }),
      );
    };
    const sent = request(
      {
        host,
        port,
        path,
        method: "POST",
        ...tls,
        agent: false,
        ...serverName(host),
        headers: { "content-type": "application/json", "content-length": Buffer.byteLength(body) },
        timeout: deadlineMs,
      },
      (answer) => {
        let text = "";
        answer.setEncoding("utf8");
        answer.on("data", (part: string) => {
          text += part;
          if (text.length > 65_536) answer.destroy(new Error("the answer is too long"));
        });
        answer.on("error", away);
        answer.on("end", () => {
          try {
            const parsed: unknown = JSON.parse(text);
            if (answer.statusCode === 200) return resolve(joinAnswerSchema.parse(parsed));
            const refusal = refusalSchema.parse(parsed);
            const kind = (answer.statusCode ?? 500) < 500 ? "forbidden" : "unavailable";
            return reject(new Failure(kind, refusal.code, refusal.message));
          } catch (error) {
            return away(error);
          }
        });
      },
    );
    sent.on("timeout", () => sent.destroy(new Error(`no answer within ${deadlineMs} ms`)));
    sent.on("error", away);
    sent.end(body);
  });
}

/** The certificate must be for our key and of the pinned CA: an answer is not believed for where it came from. */
function checkAnswer(answer: JoinAnswer, key: string, caFingerprint: string): void {
  const certificate = new X509Certificate(answer.certificate);
  const ca = new X509Certificate(answer.ca);
  const ours = certificate.checkPrivateKey(createPrivateKey(key));
  if (!ours || fingerprint(answer.ca) !== caFingerprint || !certificate.verify(ca.publicKey)) {
    throw new Failure(
      "unauthenticated",
      "CertificateWrong",
      "VStation's answer is no certificate for the key that was sent",
    );
  }
  if (parseId("host", answer.hostId) === undefined) {
    throw new Failure("invalid", "CertificateWrong", "VStation's answer names no host");
  }
}

export function fingerprint(pem: string): string {
  return createHash("sha256").update(new X509Certificate(pem).raw).digest("hex");
}

export function splitAddress(server: string): { host: string; port: number } {
  const at = server.lastIndexOf(":");
  return { host: server.slice(0, at).replaceAll(/^\[|\]$/g, ""), port: Number(server.slice(at + 1)) };
}

/** SNI is for names only; an address is checked against the certificate's addresses without it. */
export function serverName(host: string): { servername?: string } {
  return /^[\d.]+$|:/.test(host) ? {} : { servername: host };
}
