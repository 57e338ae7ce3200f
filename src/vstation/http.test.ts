import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Pki } from "./agents/pki.ts";
import { checkListen, listenPublic } from "./http.ts";
import { clientHeader } from "./source.ts";

let dir: string;
beforeEach(() => (dir = mkdtempSync(join(tmpdir(), "vstation-http-"))));
afterEach(() => rmSync(dir, { recursive: true }));

const handlers = {
  native: () => undefined,
  // Who says on whose behalf it asks is not believed here.
  cvm: (asked: IncomingMessage, response: { end(text: string): unknown }) =>
    void response.end(asked.headers[clientHeader] === undefined ? "hello" : "believed"),
  isNative: () => false,
  upgrade: () => undefined,
};

describe("an address", () => {
  it("that others can reach is refused without TLS, and one of this machine's own is not", () => {
    const refused = (address: string): boolean => {
      try {
        checkListen({ address, port: 0 });
        return false;
      } catch (error) {
        return /listen\.tls/.test(String(error));
      }
    };
    const reachable = ["0.0.0.0", "::", "10.0.0.1", "192.168.1.1", "vstation.example", "1270.0.0.1", "127.example", ""];
    expect(reachable.filter(refused)).toEqual(reachable);
    expect(["127.0.0.1", "127.9.9.9", "::1", "localhost"].filter(refused)).toEqual([]);
    const tls = { certFile: "c", keyFile: "k" };
    expect(() => checkListen({ address: "10.0.0.1", port: 0, tls })).not.toThrow();
    expect(() => checkListen({ address: "0.0.0.0", port: 0, name: "vstation.example", tls })).not.toThrow();
    for (const every of ["0.0.0.0", "::"]) {
      expect(() => checkListen({ address: every, port: 0, tls })).toThrow("listen.name");
    }
  });

  it("with TLS is served by HTTPS under the given certificate, and by nothing else", async () => {
    const pki = await Pki.open(join(dir, "pki"));
    const { cert, key } = await pki.serverIdentity(["localhost"]);
    const tls = { certFile: join(dir, "cert.pem"), keyFile: join(dir, "key.pem") };
    writeFileSync(tls.certFile, cert);
    writeFileSync(tls.keyFile, key);
    const listen = { address: "127.0.0.1", port: 0, name: "localhost", tls };
    const listener = await listenPublic(listen, { maxHeaderSize: 16_384 }, handlers);
    try {
      expect(new URL(listener.url).hostname).toBe("localhost");
      const answer = await new Promise<string>((resolve, reject) => {
        const headers = { [clientHeader]: "192.0.2.1" };
        const asked = request(listener.url, { ca: pki.caPem, headers }, (response) => {
          response.setEncoding("utf8").once("data", resolve);
        });
        asked.once("error", reject).end();
      });
      expect(answer).toBe("hello");
      await expect(fetch(`http://${listener.host}/`)).rejects.toThrow("fetch failed");
    } finally {
      await listener.close();
    }
  });

  it("whose certificate cannot be read is named", async () => {
    const tls = { certFile: join(dir, "none"), keyFile: join(dir, "none") };
    const listening = listenPublic({ address: "127.0.0.1", port: 0, tls }, { maxHeaderSize: 16_384 }, handlers);
    await expect(listening).rejects.toThrow("listen.tls");
  });
});
