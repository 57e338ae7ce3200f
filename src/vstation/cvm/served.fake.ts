/** For the tests of this folder only: a client's signer, a server around the handler, and calls to it. */
import { createHash, createHmac } from "node:crypto";
import { createServer, request as httpRequest, type IncomingHttpHeaders, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createLog } from "../../lib/log.ts";
import type { Cloud } from "../cloud.ts";
import { testKey, testPlace } from "./cloud.fake.ts";
import { createCvmHandler, cvmServerOptions, type CvmOptions } from "./handler.ts";
import { serviceOf, services } from "./known-actions/known-actions.ts";

export interface TestServer {
  port: number;
  close(): Promise<void>;
}

/** The handler behind a plain server on loopback. */
export async function serveFake(cloud: Cloud, options: Partial<CvmOptions> = {}): Promise<TestServer> {
  const handler = createCvmHandler(cloud, {
    ...testPlace,
    log: createLog("cvm-test").child({}, { level: "silent" }),
    now: () => new Date(),
    ...options,
  });
  const server: Server = createServer(cvmServerOptions, handler);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

export interface Signing {
  method?: string;
  /** What is sent; what is signed follows from it. */
  target?: string;
  /** What is signed in their place, as clients differ. */
  signedHost?: string;
  signedPath?: string;
  signedHeaders?: string[];
  headers?: Record<string, string>;
  body?: string | Buffer;
  key?: { secretId: string; secretKey: string };
  service?: string;
  timestamp?: number;
  /** The credential's day; else that of the timestamp. */
  date?: string;
}

const hash = (data: string | Buffer): string => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Buffer, data: string): Buffer => createHmac("sha256", key).update(data).digest();

/** The headers of a signed request, written from the documentation and not from the verifier. */
export function signedHeaders(action: string, given: Signing = {}): Record<string, string> {
  const { method = "POST", target = "/", body = "{}", key = testKey, service = "cvm" } = given;
  const timestamp = given.timestamp ?? Math.floor(Date.now() / 1000);
  const date = given.date ?? new Date(timestamp * 1000).toISOString().slice(0, 10);
  const headers: Record<string, string> = {
    host: "cvm.example",
    "content-type": method === "GET" ? "application/x-www-form-urlencoded" : "application/json",
    "x-tc-action": action,
    "x-tc-version": services[serviceOf(action) ?? "cvm"].version,
    "x-tc-region": testPlace.region,
    "x-tc-timestamp": String(timestamp),
    ...given.headers,
  };
  const names = given.signedHeaders ?? ["content-type", "host"];
  const [path = "/", query = ""] = target.split("?");
  const lines = names.map(
    (name) => `${name}:${name === "host" ? (given.signedHost ?? headers["host"]) : headers[name]}\n`,
  );
  const payload = method === "GET" ? "" : body;
  const canonical = [method, given.signedPath ?? path, query, lines.join(""), names.join(";"), hash(payload)].join(
    "\n",
  );
  const scope = `${date}/${service}/tc3_request`;
  const text = ["TC3-HMAC-SHA256", timestamp, scope, hash(canonical)].join("\n");
  const signing = hmac(hmac(hmac(`TC3${key.secretKey}`, date), service), "tc3_request");
  const signature = hmac(signing, text).toString("hex");
  const credential = `Credential=${key.secretId}/${scope}`;
  return {
    ...headers,
    authorization: `TC3-HMAC-SHA256 ${credential}, SignedHeaders=${names.join(";")}, Signature=${signature}`,
  };
}

export interface RawAnswer {
  status: number;
  headers: IncomingHttpHeaders;
  text: string;
  response: { RequestId: string; Error?: { Code: string; Message: string } } & Record<string, unknown>;
}

/** Sends exactly this; what comes back is read as far as it goes. */
export function send(
  port: number,
  options: { method?: string; target?: string; headers: Record<string, string>; body?: string | Buffer },
): Promise<RawAnswer> {
  return new Promise((resolve, reject) => {
    const request = httpRequest({
      host: "127.0.0.1",
      port,
      method: options.method ?? "POST",
      path: options.target ?? "/",
      headers: options.headers,
      agent: false,
    });
    request.on("error", reject);
    request.on("response", (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", reject);
      answer.on("end", () => {
        const text = Buffer.concat(chunks).toString();
        const response = text === "" ? {} : (JSON.parse(text) as { Response: RawAnswer["response"] }).Response;
        resolve({
          status: answer.statusCode ?? 0,
          headers: answer.headers,
          text,
          response: response as RawAnswer["response"],
        });
      });
    });
    request.end(options.body);
  });
}

/** A signed call as a client makes it. */
export function call(port: number, action: string, parameters: unknown = {}, given: Signing = {}): Promise<RawAnswer> {
  const body = given.body ?? JSON.stringify(parameters);
  const headers = signedHeaders(action, { ...given, body });
  const { method = "POST", target = "/" } = given;
  return send(port, { method, target, headers, ...(method === "GET" ? {} : { body }) });
}
