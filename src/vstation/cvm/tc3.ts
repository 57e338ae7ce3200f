/**
 * TC3-HMAC-SHA256, the signature of Tencent Cloud API 3.0, from the server's side. Pure: bytes, a key and a time in, a verdict out.
 *
 *   canonical = METHOD \n PATH \n QUERY \n name:value\n... \n SignedHeaders \n hex(sha256(body))
 *   text      = "TC3-HMAC-SHA256" \n timestamp \n date/service/tc3_request \n hex(sha256(canonical))
 *   key       = HMAC(HMAC(HMAC("TC3" + secretKey, date), service), "tc3_request")
 *   signature = hex(HMAC(key, text))
 *
 * Clients differ in what they put in, so a few spellings of one request are tried, none of which lets a changed request pass:
 * - host: Go and Python sign the Host header as sent, Node drops the port, an endpoint "http://..." is kept whole by tccli;
 * - path: Node signs the endpoint's path, Go always "/";
 * - header values: as sent, or in lower case as the documentation asks;
 * - service: the text before the endpoint's first dot ("127" for 127.0.0.1). It only goes into the key, never into routing.
 *
 * What the signature leaves open, by the protocol's design: action, region and version headers are not signed unless the client
 * lists them, and a captured request can be replayed for 300 s. So TLS is demanded off loopback.
 */
import { createHash, createHmac, timingSafeEqual } from "node:crypto";
import { Refusal } from "./error-codes.ts";

/** How far a request's timestamp may be from the server's clock, in seconds. */
export const signatureWindow = 300;

export interface SignedRequest {
  method: string;
  /** The request target as received: origin form or absolute form, with its query. */
  target: string;
  /** Lower-case names; repeated headers joined by ", ". */
  headers: Readonly<Record<string, string | undefined>>;
  body: Uint8Array;
}

export interface Authorization {
  secretId: string;
  date: string;
  service: string;
  signedHeaders: readonly string[];
  signature: Buffer;
  timestamp: string;
}

const form =
  /^TC3-HMAC-SHA256 Credential=([^/,\s]{1,128})\/(\d{4}-\d{2}-\d{2})\/([^/,\s]{1,255})\/tc3_request, ?SignedHeaders=([a-z0-9;-]{1,512}), ?Signature=([0-9a-f]{64})$/;

/**
 * Reads and checks everything about a signature that needs no key: form, scope, date and window.
 * Throws a {@link Refusal}: `AuthFailure.*`, or `MissingParameter` without a timestamp.
 */
export function readAuthorization(headers: SignedRequest["headers"], nowSeconds: number): Authorization {
  const header = headers["authorization"];
  if (header === undefined) {
    throw new Refusal("AuthFailure.InvalidAuthorization", "Requests must be signed with TC3-HMAC-SHA256.");
  }
  const [, secretId, date, service, names, signature] = form.exec(header) ?? [];
  if (
    secretId === undefined ||
    date === undefined ||
    service === undefined ||
    names === undefined ||
    signature === undefined
  ) {
    throw new Refusal(
      "AuthFailure.InvalidAuthorization",
      "The Authorization header is not `TC3-HMAC-SHA256 Credential=.../date/service/tc3_request, SignedHeaders=..., Signature=...`.",
    );
  }
  const signedHeaders = names.split(";");
  if (!signedHeaders.includes("content-type") || !signedHeaders.includes("host")) {
    throw new Refusal("AuthFailure.InvalidAuthorization", "SignedHeaders must hold content-type and host.");
  }
  if (headers["x-tc-token"] !== undefined) {
    throw new Refusal("AuthFailure.TokenFailure", "Session tokens are not offered; sign with a permanent key.");
  }
  if (headers["x-tc-content-sha256"] !== undefined) {
    throw new Refusal("AuthFailure.SignatureFailure", "The body must be signed; X-TC-Content-SHA256 is not accepted.");
  }
  const timestamp = headers["x-tc-timestamp"];
  if (timestamp === undefined) throw new Refusal("MissingParameter", "The header X-TC-Timestamp is required.");
  if (!/^\d{1,11}$/.test(timestamp) || Math.abs(nowSeconds - Number(timestamp)) > signatureWindow) {
    throw new Refusal(
      "AuthFailure.SignatureExpire",
      `X-TC-Timestamp must be within ${signatureWindow} s of the server's clock, which says ${Math.floor(nowSeconds)}.`,
    );
  }
  if (new Date(Number(timestamp) * 1000).toISOString().slice(0, 10) !== date) {
    throw new Refusal("AuthFailure.SignatureFailure", "The credential's date is not the UTC date of X-TC-Timestamp.");
  }
  return { secretId, date, service, signedHeaders, signature: Buffer.from(signature, "hex"), timestamp };
}

/** True if the signature belongs to this very request and key. Takes the same time wherever it differs. */
export function signatureValid(request: SignedRequest, authorization: Authorization, secretKey: string): boolean {
  const { date, service, signedHeaders, timestamp, signature } = authorization;
  if (signedHeaders.some((name) => request.headers[name] === undefined)) return false;

  const key = hmac(hmac(hmac(`TC3${secretKey}`, date), service), "tc3_request");
  const bodyHash = sha256(request.body);
  const { path, query } = splitTarget(request.target);
  let valid = false;
  for (const candidatePath of new Set([path, "/"])) {
    for (const values of headerSpellings(request, signedHeaders)) {
      const canonical = [request.method, candidatePath, query, values, signedHeaders.join(";"), bodyHash].join("\n");
      const text = ["TC3-HMAC-SHA256", timestamp, `${date}/${service}/tc3_request`, sha256(canonical)].join("\n");
      if (timingSafeEqual(hmac(key, text), signature)) valid = true;
    }
  }
  return valid;
}

/** The signed headers' lines in each spelling a client may have used. */
function headerSpellings(request: SignedRequest, signedHeaders: readonly string[]): Set<string> {
  const host = request.headers["host"] ?? "";
  const spellings = new Set<string>();
  for (const hostValue of [host, host.replace(/:\d+$/, "")]) {
    const lines = signedHeaders.map((name) => {
      const value = name === "host" ? hostValue : (request.headers[name] ?? "");
      return `${name}:${value.trim()}\n`;
    });
    spellings.add(lines.join(""));
    spellings.add(lines.join("").toLowerCase());
  }
  return spellings;
}

function splitTarget(target: string): { path: string; query: string } {
  // Absolute form, as sent through a proxy: only what follows the authority is signed.
  const origin = target.replace(/^https?:\/\/[^/?]*/i, "");
  const mark = origin.indexOf("?");
  const path = mark === -1 ? origin : origin.slice(0, mark);
  return { path: path === "" ? "/" : path, query: mark === -1 ? "" : origin.slice(mark + 1) };
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac("sha256", key).update(text).digest();
}

function sha256(data: string | Uint8Array): string {
  return createHash("sha256").update(data).digest("hex");
}
