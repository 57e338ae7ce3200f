import { chownSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { writeCredentials } from "./credentials.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "vstation-credentials-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const secrets = {
  endpoint: "http://127.0.0.1:1",
  secretId: "id",
  secretKey: "key",
  region: "r",
  zone: "z",
  nativeEndpoint: "http://127.0.0.1:1",
  nativeToken: "t",
};

it("are for their owner's eyes only", async () => {
  const file = join(dir, "credentials.json");
  await writeCredentials(file, secrets);
  await writeCredentials(file, secrets);
  expect(statSync(file).mode & 0o777).toBe(0o600);
});

it.runIf(process.getuid?.() === 0)("written by root are those of the folder's owner, each time anew", async () => {
  const file = join(dir, "credentials.json");
  chownSync(dir, 65534, 65534);
  await writeCredentials(file, secrets);
  await writeCredentials(file, secrets);
  expect(statSync(file)).toMatchObject({ uid: 65534, gid: 65534 });
  expect(statSync(file).mode & 0o777).toBe(0o600);
});
