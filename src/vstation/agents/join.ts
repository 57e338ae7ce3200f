/**
 * POST /join: a machine that shows a join token gets a certificate for its own key. The token is known to us only by its hash, so a
 * look into the database gives nobody one, and looking it up by its hash tells nothing by its timing.
 *
 * POST /renew: a host gets a certificate that is good for longer, or one for its QEMUs, under the one that it has. Nothing is written down: it is of the same
 * joining (pki.ts), and a host that was taken out meanwhile is refused whichever it shows.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { joinRequestSchema, renewRequestSchema, type JoinAnswer } from "../../api/agent.ts";
import { joinFailureKinds, type JoinFailureCode } from "../../core/failure-codes.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { isFailure } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Store } from "../store/database.ts";
import { joinTokenUse } from "../store/join-tokens.ts";
import { newSerial, type Pki } from "./pki.ts";

const longestBody = 16_384;
const bodyMs = 10_000;

const messages: Record<JoinFailureCode, string> = {
  JoinRequestInvalid: "the join request is not well formed",
  JoinTokenUnknown: "this join token is not known here",
  JoinTokenExpired: "this join token has expired; make a new one",
  JoinTokenUsed: "this join token was used before; make a new one",
  JoinNameMismatch: "this join token was made for a host of another name",
  CertificateUnknown: "this certificate is none of a host here: join again by a new token",
  HostRemoved: "this host was taken out",
};

export interface JoinContext {
  store: Store;
  pki: Pki;
  zone: string;
  /** How long a host's certificate is good. */
  certificateDays: number;
  log: Log;
}

/** Whose certificate a connection shows, and the joining that it comes from. */
export interface KnownHost {
  readonly id: HostId;
  readonly joining: string;
  readonly removed: boolean;
}

type Answer = JoinAnswer | { refused: JoinFailureCode };

export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

export async function answerJoin(
  context: JoinContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const joined = await answer(context, request, response, (body) => join(context, body));
  if (joined !== undefined) context.log.info({ hostId: joined }, "a host joined");
}

export async function answerRenew(
  context: JoinContext,
  host: () => Promise<KnownHost | undefined>,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const renewed = await answer(context, request, response, async (body) => renew(context, await host(), body));
  if (renewed !== undefined) context.log.info({ hostId: renewed }, "a host got another certificate");
}

/** Answers in any case; returns which host got a certificate. */
async function answer(
  { log }: JoinContext,
  request: IncomingMessage,
  response: ServerResponse,
  work: (body: string | undefined) => Promise<Answer>,
): Promise<HostId | undefined> {
  try {
    const given = await work(await readBody(request));
    if (!("refused" in given)) {
      send(response, 200, given);
      return given.hostId;
    }
    log.warn({ code: given.refused, from: request.socket.remoteAddress }, "refused a host a certificate");
    const status = joinFailureKinds[given.refused] === "invalid" ? 400 : 403;
    send(response, status, { code: given.refused, message: messages[given.refused] });
  } catch (error) {
    log.error({ err: error }, "a request for a host's certificate could not be answered");
    const away = isFailure(error, "unavailable");
    send(response, away ? 503 : 500, {
      code: away ? "DatabaseUnavailable" : "Internal",
      message: "the request could not be answered now; ask again",
    });
  }
  return undefined;
}

async function join({ store, pki, zone, certificateDays }: JoinContext, body: string | undefined): Promise<Answer> {
  const parsed = joinRequestSchema.safeParse(parseJson(body));
  if (!parsed.success) return { refused: "JoinRequestInvalid" };
  const { token, name, csr } = parsed.data;
  const checked = await checkRequest(pki, csr);
  if (checked === undefined) return { refused: "JoinRequestInvalid" };
  const joining = newSerial();
  const use = { hash: tokenHash(token), name, zone, keyHash: checked.keyHash, joining };
  const used = await store.transaction((tx) => joinTokenUse(tx, use));
  if ("refused" in used) return used;
  crashPoint("agents.join.committed");
  const { hostId } = used;
  const certificate = await pki.signHost(checked.request, { hostId, joining, days: certificateDays, use: "host" });
  return { hostId, certificate, ca: pki.caPem };
}

async function renew(
  { pki, certificateDays }: JoinContext,
  host: KnownHost | undefined,
  body: string | undefined,
): Promise<Answer> {
  if (host === undefined) return { refused: "CertificateUnknown" };
  if (host.removed) return { refused: "HostRemoved" };
  const parsed = renewRequestSchema.safeParse(parseJson(body));
  if (!parsed.success) return { refused: "JoinRequestInvalid" };
  const { csr, use } = parsed.data;
  const checked = await checkRequest(pki, csr);
  if (checked === undefined) return { refused: "JoinRequestInvalid" };
  const { id: hostId, joining } = host;
  const certificate = await pki.signHost(checked.request, { hostId, joining, days: certificateDays, use });
  return { hostId, certificate, ca: pki.caPem };
}

/** Undefined for one that is not well formed, or not signed by its own key. */
async function checkRequest(pki: Pki, csr: string): Promise<Awaited<ReturnType<Pki["checkRequest"]>> | undefined> {
  return pki.checkRequest(csr).catch((error: unknown) => {
    if (isFailure(error, "invalid")) return undefined;
    throw error;
  });
}

function parseJson(text: string | undefined): unknown {
  if (text === undefined) return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The body as text; undefined when it is too long or does not come. */
async function readBody(request: IncomingMessage): Promise<string | undefined> {
  const parts: Buffer[] = [];
  let size = 0;
  const late = setTimeout(() => request.destroy(), bodyMs);
  try {
    for await (const part of request as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > longestBody) return undefined;
      parts.push(part);
    }
    return Buffer.concat(parts).toString("utf8");
  } catch {
    return undefined;
  } finally {
    clearTimeout(late);
  }
}

function send(response: ServerResponse, status: number, body: unknown): void {
  if (response.destroyed) return;
  const text = JSON.stringify(body);
  response.writeHead(status, {
    "content-type": "application/json",
    "content-length": Buffer.byteLength(text),
    connection: "close",
  });
  response.end(text);
}
