/**
 * Fetches an image's file by its URL, to a file, from where an earlier try ended.
 *
 * The URL is a stranger's wish. Its name is resolved once, every address is judged (addresses.ts), and the connection goes to the
 * address that was judged: a name that answers differently the second time changes nothing. A redirect is followed only within the
 * same origin. Size and time are bounded, and a server that falls silent is given up.
 *
 * A resume must not join halves of two files: it is asked for only with the validator that the first answer gave (`If-Range`), kept
 * beside the partial file; a server that gives none, or answers 200, is read from the beginning.
 */
import { lookup } from "node:dns/promises";
import { open, readFile, rm, stat } from "node:fs/promises";
import { request as plainRequest, type IncomingMessage } from "node:http";
import { request as secureRequest } from "node:https";
import { isIP } from "node:net";
import { ImportRefusal } from "../../core/image.ts";
import { writeDurably } from "../../lib/durable.ts";
import { isNoSpace } from "../../lib/errors.ts";
import type { AddressPolicy } from "./addresses.ts";

export interface Download {
  readonly url: string;
  readonly file: string;
  readonly policy: AddressPolicy;
  readonly maxBytes: number;
  readonly signal: AbortSignal;
  /** From 0 to 1; nothing while the size is unknown. */
  readonly onProgress: (share: number) => void;
}

const silenceMs = 60_000;
const mostRedirects = 5;

/** The form of a URL that may be tried at all; throws an {@link ImportRefusal}. Its addresses are judged when it is fetched. */
export function checkUrl(text: string): URL {
  const url = URL.parse(text);
  if (url === null || (url.protocol !== "http:" && url.protocol !== "https:")) {
    throw new ImportRefusal("UrlRefused", "an image comes by http or https");
  }
  if (url.username !== "" || url.password !== "") {
    throw new ImportRefusal(
      "UrlRefused",
      "a URL with a name and a password is not taken: it would stand in lists and logs",
    );
  }
  return url;
}

export async function download(it: Download): Promise<void> {
  let url = checkUrl(it.url);
  const { origin } = url;
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const have = await resumable(it);
    const answer = await get(url, it, have);
    const next = redirectOf(answer, url);
    if (next === undefined) return await take(answer, it, have);
    answer.destroy();
    if (next.origin !== origin) {
      throw new ImportRefusal("UrlRefused", `it leads on to ${next.host}: give the address where the file really lies`);
    }
    url = next;
  }
  throw new ImportRefusal("DownloadFailed", "it redirects again and again");
}

interface Have {
  readonly bytes: number;
  readonly validator: string | null;
}

const nothing: Have = { bytes: 0, validator: null };
const validatorFile = (file: string): string => `${file}.validator`;

async function resumable({ file }: Download): Promise<Have> {
  try {
    const validator = await readFile(validatorFile(file), "utf8");
    return { bytes: (await stat(file)).size, validator };
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return nothing;
    throw error;
  }
}

async function get(url: URL, { policy, signal }: Download, have: Have): Promise<IncomingMessage> {
  const name = url.hostname.replaceAll(/^\[|\]$/g, "");
  const address = await resolve(name, policy);
  const resume = have.bytes > 0 && have.validator !== null;
  const send = url.protocol === "https:" ? secureRequest : plainRequest;
  return new Promise((fulfil, reject) => {
    const failed = (cause: unknown): void => {
      if (signal.aborted) reject(signal.reason as Error);
      else reject(new ImportRefusal("DownloadFailed", `${url.host} could not be reached: ${textOf(cause)}`, cause));
    };
    const sent = send(
      {
        host: address,
        // The certificate and the virtual host are the name's, the connection is the judged address's.
        ...(isIP(name) === 0 ? { servername: name } : {}),
        port: url.port === "" ? undefined : Number(url.port),
        path: `${url.pathname}${url.search}`,
        headers: {
          host: url.host,
          "accept-encoding": "identity",
          "user-agent": "VStation",
          ...(resume ? { range: `bytes=${have.bytes}-`, "if-range": have.validator ?? "" } : {}),
        },
        timeout: silenceMs,
        signal,
        agent: false,
      },
      fulfil,
    );
    sent.on("timeout", () => sent.destroy(new Error(`silent for ${silenceMs / 1000} s`)));
    sent.on("error", failed);
    sent.end();
  });
}

async function resolve(name: string, policy: AddressPolicy): Promise<string> {
  let addresses: string[];
  try {
    addresses = isIP(name) === 0 ? (await lookup(name, { all: true })).map(({ address }) => address) : [name];
  } catch (cause) {
    throw new ImportRefusal("DownloadFailed", `there is no host ${name}`, cause);
  }
  const [address] = addresses;
  // One that is inside and one that is outside is a trick, not a choice.
  if (address === undefined || !addresses.every((each) => policy.allows(each))) {
    throw new ImportRefusal(
      "UrlRefused",
      `${name} is not a public address; an operator may allow its network (imports.allowedNetworks)`,
    );
  }
  return address;
}

function redirectOf(answer: IncomingMessage, from: URL): URL | undefined {
  const { statusCode = 0, headers } = answer;
  if (![301, 302, 303, 307, 308].includes(statusCode) || headers.location === undefined) return undefined;
  const next = URL.parse(headers.location, from.href);
  if (next === null) throw new ImportRefusal("DownloadFailed", "it redirects to no URL");
  return next;
}

async function take(answer: IncomingMessage, it: Download, have: Have): Promise<void> {
  const { statusCode = 0, headers } = answer;
  if (statusCode === 416 && have.bytes > 0) {
    // There is nothing behind what we have: it was whole, or is another file by now. Read from the beginning next time.
    answer.destroy();
    await forget(it.file);
    throw new ImportRefusal("DownloadFailed", "the file at the URL has changed: import it again");
  }
  if (statusCode !== 200 && statusCode !== 206) {
    answer.destroy();
    throw new ImportRefusal("DownloadFailed", `the server answered ${statusCode}`);
  }
  const start = statusCode === 206 ? have.bytes : 0;
  if (start === 0) await forget(it.file);
  const validator = headers.etag?.startsWith('"') === true ? headers.etag : headers["last-modified"];
  if (validator !== undefined) await writeDurably(validatorFile(it.file), validator);
  const length = headers["content-length"] === undefined ? undefined : Number(headers["content-length"]);
  const total = length === undefined ? undefined : start + length;
  if (total !== undefined && total > it.maxBytes) throw tooLarge(it);
  const handle = await open(it.file, start === 0 ? "w" : "r+", 0o600);
  let at = start;
  try {
    for await (const part of answer as AsyncIterable<Buffer>) {
      if (at + part.length > it.maxBytes) throw tooLarge(it);
      await handle.write(part, 0, part.length, at);
      at += part.length;
      if (total !== undefined) it.onProgress(at / total);
    }
    await handle.sync();
  } catch (cause) {
    it.signal.throwIfAborted();
    if (cause instanceof ImportRefusal) throw cause;
    if (isNoSpace(cause)) throw new ImportRefusal("OutOfSpace", "the folder of images has no room for it", cause);
    throw new ImportRefusal("DownloadFailed", `the connection broke after ${at} bytes: ${textOf(cause)}`, cause);
  } finally {
    await handle.close();
  }
  if (total !== undefined && at < total) {
    throw new ImportRefusal("DownloadFailed", `the server sent ${at} of ${total} bytes`);
  }
}

async function forget(file: string): Promise<void> {
  await rm(validatorFile(file), { force: true });
  await rm(file, { force: true });
}

function tooLarge({ maxBytes }: Download): ImportRefusal {
  return new ImportRefusal(
    "TooLarge",
    `the file has more than ${Math.round(maxBytes / 2 ** 30)} GiB, the most that is taken`,
  );
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
