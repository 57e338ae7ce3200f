/** For the tests of this folder only: clients of the official, unmodified SDK for a server on loopback. */
import { CommonClient } from "tencentcloud-sdk-nodejs/tencentcloud/common/common_client.js";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { afterAll } from "vitest";
import { fakeCloud, testImage, testKey, testPlace } from "./cloud.fake.ts";
import { serveFake } from "./served.fake.ts";

export type CvmClient = InstanceType<typeof cvm.v20170312.Client>;

export interface SdkOptions {
  reqMethod?: "GET" | "POST";
  path?: string;
  secretKey?: string;
  region?: string;
}

// The SDK obeys it even for loopback.
delete process.env["http_proxy"];
delete process.env["HTTP_PROXY"];

export function cvmClient(port: number, options: SdkOptions = {}): CvmClient {
  const { secretId, secretKey } = testKey;
  return new cvm.v20170312.Client({
    credential: { secretId, secretKey: options.secretKey ?? secretKey },
    region: options.region ?? testPlace.region,
    profile: {
      httpProfile: {
        endpoint: `127.0.0.1:${port}${options.path ?? ""}`,
        protocol: "http://",
        reqMethod: options.reqMethod ?? "POST",
      },
    },
  });
}

/** A fake cloud with a server for all tests of the file, and a client of it. */
export async function sdkForAll() {
  const fake = fakeCloud();
  const server = await serveFake(fake.cloud);
  afterAll(() => server.close());
  return { ...fake, port: server.port, client: cvmClient(server.port) };
}

/** Of any service: the version tells which. */
export function commonClient(port: number, version: string): CommonClient {
  const { secretId, secretKey } = testKey;
  return new CommonClient(`127.0.0.1:${port}`, version, {
    credential: { secretId, secretKey },
    region: testPlace.region,
    profile: { httpProfile: { protocol: "http://" } },
  });
}

/** The least that a run must say. */
export const minimal = { Placement: { Zone: "lab-1" }, ImageId: testImage, InstanceType: "T1.SMALL1" };
