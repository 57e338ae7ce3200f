/**
 * POST /join: a machine that shows a join token gets a certificate for its own key. The token is known to us only by its hash, so a
 * look into the database gives nobody one, and looking it up by its hash tells nothing by its timing.
 */
import { createHash } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { joinRequestSchema, type JoinAnswer } from "../../api/agent.ts";
import { joinFailureKinds, type JoinFailureCode } from "../../core/failure-codes.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { isFailure } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Store } from "../store/database.ts";
import { joinTokenUse } from "../store/join-tokens.ts";
import type { Pki } from "./pki.ts";

const longestBody = 16_384;
const bodyMs = 10_000;

const messages: Record<JoinFailureCode, string> = {
  JoinRequestInvalid: "the join request is not well formed",
  JoinTokenUnknown: "this join token is not known here",
  JoinTokenExpired: "this join token has expired; make a new one",
  JoinTokenUsed: "this join token was used before by another key; make a new one",
  JoinNameMismatch: "this join token was made for a host of another name",
};

export interface JoinContext {
  store: Store;
  pki: Pki;
  zone: string;
  log: Log;
}

export function tokenHash(token: string): string {
  return createHash("sha256").update(token).digest("hex");
}

export async function answerJoin(
  context: JoinContext,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const { log } = context;
  try {
    const answer = await join(context, await readBody(request));
    if ("refused" in answer) {
      log.warn({ code: answer.refused, from: request.socket.remoteAddress }, "refused a host that wanted to join");
      const status = joinFailureKinds[answer.refused] === "invalid" ? 400 : 403;
      return send(response, status, { code: answer.refused, message: messages[answer.refused] });
    }
    log.info({ hostId: answer.hostId }, "a host joined");
    return send(response, 200, answer);
  } catch (error) {
    log.error({ err: error }, "a join request could not be answered");
    const away = isFailure(error, "unavailable");
    return send(response, away ? 503 : 500, {
      code: away ? "DatabaseUnavailable" : "Internal",
      message: "the request could not be answered now; ask again",
    });
  }
}

async function join(
  { store, pki, zone }: JoinContext,
  body: string | undefined,
): Promise<JoinAnswer | { refused: JoinFailureCode }> {
  const parsed = joinRequestSchema.safeParse(parseJson(body));
  if (!parsed.success) return { refused: "JoinRequestInvalid" };
  const { token, name, csr } = parsed.data;
  const checked = await pki.checkRequest(csr).catch((error: unknown) => {
    if (isFailure(error, "invalid")) return undefined;
    throw error;
  });
  if (checked === undefined) return { refused: "JoinRequestInvalid" };
  const serial = pki.newSerial();
  const use = { hash: tokenHash(token), name, zone, keyHash: checked.keyHash, certificateSerial: serial };
  const used = await store.transaction((tx) => joinTokenUse(tx, use));
  if ("refused" in used) return used;
  crashPoint("agents.join.committed");
  const certificate = await pki.signHost(checked.request, used.hostId, serial);
  return { hostId: used.hostId, certificate, ca: pki.caPem };
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
