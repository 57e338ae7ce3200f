/** Fetching by URL: what is never connected to, what is followed, and how a broken download goes on. The server is a real one. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { ImportRefusal } from "../../core/image.ts";
import { AddressPolicy } from "./addresses.ts";
import { checkUrl, download, type Download } from "./download.ts";

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 31) % 251));
let server: Server;
let base: string;
let directory: string;
let file: string;
let asked: IncomingMessage[];
/** Where the answer is cut off. */
let cutAt: number | undefined;
let etag: string;

function answer(request: IncomingMessage, response: ServerResponse): void {
  asked.push(request);
  const path = request.url ?? "";
  if (path === "/away") return void response.writeHead(302, { location: "http://192.0.2.1/disk" }).end();
  if (path === "/near") return void response.writeHead(302, { location: "/disk" }).end();
  if (path === "/loop") return void response.writeHead(302, { location: "/loop" }).end();
  if (path === "/gone") return void response.writeHead(404).end();
  const same = request.headers["if-range"] === etag;
  const start = same ? Number(/bytes=(\d+)-/.exec(request.headers.range ?? "")?.[1] ?? 0) : 0;
  const length = path === "/endless" ? undefined : content.length - start;
  response.writeHead(start > 0 ? 206 : 200, { etag, ...(length === undefined ? {} : { "content-length": length }) });
  if (path === "/endless") {
    const more = setInterval(() => response.write(Buffer.alloc(65_536)), 1);
    return void response.on("close", () => clearInterval(more));
  }
  if (cutAt === undefined) return void response.end(content.subarray(start));
  response.write(content.subarray(start, cutAt), () => response.destroy());
  cutAt = undefined;
}

beforeAll(async () => {
  server = createServer(answer);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  directory = mkdtempSync(join(tmpdir(), "vstation-download-"));
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
  rmSync(directory, { recursive: true });
});
beforeEach(() => {
  file = join(mkdtempSync(join(directory, "one-")), "source");
  asked = [];
  cutAt = undefined;
  etag = '"one"';
});

const fetchIt = (path: string, options: Partial<Download> = {}): Promise<void> =>
  download({
    url: path.startsWith("http") ? path : base + path,
    file,
    policy: new AddressPolicy(["127.0.0.0/8"]),
    maxBytes: 1 << 20,
    signal: AbortSignal.timeout(30_000),
    onProgress: () => undefined,
    ...options,
  });

describe("a URL", () => {
  it.each(["ftp://example.org/x", "file:///etc/passwd", "javascript:1", "nothing", "http://a:b@example.org/x"])(
    "%s is refused",
    (url) => expect(() => checkUrl(url)).toThrow(ImportRefusal),
  );

  it.each([
    "http://127.0.0.1/x",
    "http://localhost/x",
    "http://2130706433/x",
    "http://0x7f.1/x",
    "http://10.0.0.1/x",
    "http://172.31.255.255/x",
    "http://192.168.1.1/x",
    "http://169.254.169.254/latest/meta-data",
    "http://100.64.0.1/x",
    "http://0.0.0.0/x",
    "http://224.0.0.1/x",
    "http://[::1]/x",
    "http://[::ffff:127.0.0.1]/x",
    "http://[::ffff:a00:1]/x",
    "http://[64:ff9b::7f00:1]/x",
    "http://[fe80::1]/x",
    "http://[fd00::1]/x",
    "http://[2002:7f00:1::]/x",
  ])("%s leads inside and is not connected to", async (url) => {
    await expect(fetchIt(url, { policy: new AddressPolicy([]) })).rejects.toMatchObject({ code: "UrlRefused" });
    expect(existsSync(file)).toBe(false);
  });

  it("of a public address passes, and of a private one that the operator allows", () => {
    const policy = new AddressPolicy(["10.1.0.0/16", "fd00:1::/32"]);
    const told = ["1.1.1.1", "2606:4700::1111", "10.1.2.3", "10.2.0.1", "fd00:1::5", "fd00:2::5"];
    expect(told.map((address) => policy.allows(address))).toEqual([true, true, true, false, true, false]);
  });

  it("that redirects is followed on its own server only, and not for ever", async () => {
    await fetchIt("/near");
    expect(readFileSync(file).equals(content)).toBe(true);
    await expect(fetchIt("/away")).rejects.toMatchObject({ code: "UrlRefused" });
    await expect(fetchIt("/loop")).rejects.toMatchObject({ code: "DownloadFailed" });
    await expect(fetchIt("/gone")).rejects.toMatchObject({
      code: "DownloadFailed",
      message: "the server answered 404",
    });
  });
});

describe("a download", () => {
  it("goes on where it broke off", async () => {
    cutAt = 200_000;
    await expect(fetchIt("/disk")).rejects.toMatchObject({ code: "DownloadFailed" });
    await fetchIt("/disk");
    expect(readFileSync(file).equals(content)).toBe(true);
    expect(asked.map((each) => each.headers.range)).toEqual([undefined, expect.stringMatching(/^bytes=\d+-$/)]);
  });

  it("begins anew when the file has changed meanwhile", async () => {
    writeFileSync(file, Buffer.alloc(100_000, 1));
    writeFileSync(`${file}.validator`, '"older"');
    await fetchIt("/disk");
    expect(readFileSync(file).equals(content)).toBe(true);
  });

  it("is bounded, whether the server says its size or not", async () => {
    await expect(fetchIt("/disk", { maxBytes: 1000 })).rejects.toMatchObject({ code: "TooLarge" });
    await expect(fetchIt("/endless")).rejects.toMatchObject({ code: "TooLarge" });
  });

  it("ends when it is told to", async () => {
    const stop = new AbortController();
    const running = fetchIt("/endless", { signal: stop.signal, maxBytes: 1 << 30 });
    setTimeout(() => stop.abort(new Error("enough")), 100);
    await expect(running).rejects.toThrow("enough");
  });
});
