/**
 * A client that signs and sends as the Go SDK under Terraform's provider does: one host name per service
 * (`<service>.<domain>:<port>`), the Host header signed as sent, its port included, the service's own name in the credential's
 * scope, path `/`. Written from the documentation of TC3-HMAC-SHA256 and not from the verifier. Go takes apart what comes back before
 * it looks at the status: that is checked here too.
 */
import { createHash, createHmac } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { text } from "node:stream/consumers";
import { serviceOf, services, type ActionName } from "../../../src/vstation/cvm/known-actions/known-actions.ts";
import type { ApiKey } from "../../../bench/cloud.ts";
import type { Answer } from "./cvm.ts";
import { complete } from "./never-null.ts";

const domain = "cloud.example";

const sha256 = (data: string): string => createHash("sha256").update(data).digest("hex");
const hmac = (key: string | Buffer, data: string): Buffer => createHmac("sha256", key).update(data).digest();

export class GoClient {
  readonly #key: ApiKey;

  constructor(key: ApiKey) {
    this.#key = key;
  }

  async call(action: ActionName, parameters: object = {}): Promise<Answer> {
    const answer = await this.#send(action, JSON.stringify(parameters));
    const body = await text(answer);
    const type = answer.headers["content-type"];
    if (answer.statusCode !== 200 || type !== "application/json") {
      throw new Error(`${action} is answered with ${answer.statusCode} and ${type}: ${body}`);
    }
    const { Response } = JSON.parse(body) as { Response: Answer };
    if (typeof Response["RequestId"] !== "string")
      throw new Error(`${action} is answered without a RequestId: ${body}`);
    const error = Response["Error"] as { Code: string; Message: string } | undefined;
    if (error !== undefined) throw Object.assign(new Error(`${action}: ${error.Message}`), { code: error.Code });
    return complete(action, Response);
  }

  #send(action: ActionName, body: string): Promise<IncomingMessage> {
    const { endpoint, region, secretId, secretKey } = this.#key;
    const service = serviceOf(action) ?? "cvm";
    const { hostname, port } = new URL(endpoint);
    const host = `${service}.${domain}:${port}`;
    const timestamp = String(Math.floor(Date.now() / 1000));
    const date = new Date(Number(timestamp) * 1000).toISOString().slice(0, 10);
    const signed = "content-type;host";
    const lines = `content-type:application/json\nhost:${host}\n`;
    const canonical = ["POST", "/", "", lines, signed, sha256(body)].join("\n");
    const scope = `${date}/${service}/tc3_request`;
    const toSign = ["TC3-HMAC-SHA256", timestamp, scope, sha256(canonical)].join("\n");
    const key = hmac(hmac(hmac(`TC3${secretKey}`, date), service), "tc3_request");
    const signature = hmac(key, toSign).toString("hex");
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        host: hostname,
        port,
        method: "POST",
        path: "/",
        agent: false,
        headers: {
          Host: host,
          "Content-Type": "application/json",
          "X-TC-Action": action,
          "X-TC-Version": services[service].version,
          "X-TC-Region": region,
          "X-TC-Timestamp": timestamp,
          "X-TC-Language": "en-US",
          "X-TC-RequestClient": "Terraform-1.82.0",
          Authorization: `TC3-HMAC-SHA256 Credential=${secretId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`,
        },
      });
      request.once("response", resolve);
      request.once("error", reject);
      request.end(body);
    });
  }
}
