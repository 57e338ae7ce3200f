import { execFileSync, spawnSync } from "node:child_process";
import { createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { newKey, signingRequest } from "./csr.ts";

// OpenSSL's own program is the judge: another implementation of the same standard.
describe.skipIf(!existsSync("/usr/bin/openssl"))("signingRequest, judged by openssl", () => {
  test.each(["h1", "a".repeat(63)])("for %s it verifies, names the host and carries the key", (name) => {
    const key = newKey();
    const request = signingRequest(name, key);
    const openssl = (...args: string[]): string =>
      execFileSync("openssl", ["req", "-noout", "-verify", ...args], {
        input: request,
        encoding: "utf8",
        stdio: "pipe",
      });
    expect(openssl("-subject")).toContain(name);
    const wanted = createPublicKey(key).export({ type: "spki", format: "pem" }).toString();
    expect(openssl("-pubkey")).toContain(wanted);
  });

  test("changed in one byte it does not verify", () => {
    const pem = signingRequest("h1", newKey());
    const bytes = Buffer.from(pem.replaceAll(/-----[^-]+-----|\s/g, ""), "base64");
    bytes[bytes.indexOf("h1") + 1] = 0x32;
    const broken = `-----BEGIN CERTIFICATE REQUEST-----\n${bytes.toString("base64")}\n-----END CERTIFICATE REQUEST-----\n`;
    // Some versions say so with status 0: what it says is what counts.
    const said = spawnSync("openssl", ["req", "-noout", "-verify"], { input: broken, encoding: "utf8" });
    expect(said.stderr).toMatch(/verif\w* failure/i);
  });
});
