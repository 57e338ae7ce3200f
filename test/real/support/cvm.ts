/**
 * Any action of the four services through the official SDK's client for actions that it does not know; each answer is checked for what
 * clients take for granted.
 */
import { CommonClient } from "tencentcloud-sdk-nodejs/tencentcloud/common/common_client.js";
import { sdkConfig, type ApiKey } from "../../../bench/cloud.ts";
import { complete } from "./never-null.ts";
import type { TestVstation } from "./vstation.ts";
import { serviceOf, services, type ActionName } from "../../../src/vstation/cvm/known-actions/known-actions.ts";

// oxlint-disable-next-line typescript/no-explicit-any -- answers are looked at piece by piece, by tests
export type Answer = Record<string, any>;

/** Another account with a key of its own. */
export async function otherAccount(vstation: TestVstation, name: string): Promise<ApiKey> {
  const { id } = await vstation.native.call("accountCreate", { request: { name } });
  const made = await vstation.native.call("accessKeyCreate", { params: { id }, request: {} });
  return { ...vstation.credentials, secretId: made.key.secretId, secretKey: made.secretKey };
}

export class CvmCaller {
  readonly #key: ApiKey;

  constructor(key: ApiKey) {
    this.#key = key;
    // The SDK obeys it even for loopback.
    delete process.env["http_proxy"];
  }

  async call(action: ActionName, parameters: object = {}): Promise<Answer> {
    const { version } = services[serviceOf(action) ?? "cvm"];
    const client = new CommonClient(new URL(this.#key.endpoint).host, version, sdkConfig(this.#key));
    return complete(action, (await client.request(action, parameters)) as Answer);
  }

  /** The code with which it is refused. */
  async refusal(action: ActionName, parameters: object = {}): Promise<string> {
    return this.call(action, parameters).then(
      (answer) => `not refused: ${JSON.stringify(answer)}`,
      (error: unknown) => (error as { code?: string }).code ?? String(error),
    );
  }
}
