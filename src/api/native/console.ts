/**
 * The client's side of the serial console: one WebSocket, its past and present output, and the bytes typed into it.
 *
 * It ends once, however it ends: the server says why ("closed"), or the connection breaks. Coming back is the caller's
 * business, who alone knows whether the instance should be there.
 */
import { WebSocket, type RawData } from "ws";
import * as z from "zod";
import { Failure } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { problemFrom, type NativeClient } from "./client.ts";
import { fillPath } from "./route.ts";
import { rawRoutes } from "./routes.ts";

const noticeSchema = z.discriminatedUnion("type", [
  z.object({ type: z.literal("history"), bytes: z.int(), truncated: z.boolean() }),
  z.object({ type: z.literal("live") }),
  z.object({ type: z.literal("closed"), reason: z.string() }),
]);

export interface ConsoleLink {
  write(data: Uint8Array): void;
  close(): void;
  /** Why it ended: the server's words, or that the connection broke. Never rejects. */
  readonly ended: Promise<string>;
}

export interface ConsoleOptions {
  /** Bytes of past output that come first. */
  history: number;
  /** Past output comes as one block and is marked so. */
  onOutput: (data: Buffer, past: boolean) => void;
  /** The past is told, what comes now is live. */
  onLive?: () => void;
}

const openMs = 20_000;
/** The server pings every 20 s; so much silence is a broken connection. */
const silenceMs = 60_000;

/** Resolves when the console is open; rejects with the server's `Failure`, or `unavailable`, or `timeout`. */
export async function openConsole(client: NativeClient, id: InstanceId, options: ConsoleOptions): Promise<ConsoleLink> {
  const url = new URL(client.endpoint.replace(/^http/, "ws") + fillPath(rawRoutes.console.path, { id }));
  url.search = new URLSearchParams({ history: String(options.history) }).toString();
  const socket = new WebSocket(url, ["vstation.console"], {
    headers: client.headers,
    perMessageDeflate: false,
  });
  let past = true;
  let reason = "the connection broke";
  let timer = setTimeout(() => socket.terminate(), openMs);
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => socket.terminate(), silenceMs);
  };
  // Before anything is awaited: the first frames may come with the very answer that opens the socket.
  socket.on("open", heard);
  socket.on("ping", heard);
  socket.on("message", (data, isBinary) => {
    heard();
    if (isBinary) return options.onOutput(bytesOf(data), past);
    const notice = noticeSchema.safeParse(jsonOf(data));
    if (!notice.success) return; // a notice of a newer server: nothing that we wait for
    if (notice.data.type === "live") {
      past = false;
      options.onLive?.();
    }
    if (notice.data.type === "closed") reason = notice.data.reason;
  });
  const ended = new Promise<string>((resolve) => {
    socket.once("close", () => {
      clearTimeout(timer);
      resolve(reason);
    });
  });
  await opened(socket, client, ended);
  return { write: (data) => socket.send(data), close: () => socket.close(1000), ended };
}

function opened(socket: WebSocket, client: NativeClient, ended: Promise<string>): Promise<void> {
  const began = performance.now();
  return new Promise((resolve, reject) => {
    socket.once("open", resolve);
    // Stays: an error without a listener would end the process. Once open, the close that follows says it all.
    socket.on("error", (error) => {
      const late = performance.now() - began >= openMs;
      const failure = new Failure("timeout", "DeadlineExceeded", `the console did not open within ${openMs} ms`);
      reject(late ? failure : client.failureFor(error, undefined, ""));
    });
    socket.once("unexpected-response", (_request, response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => void chunks.push(chunk));
      response.on("end", () => {
        const type = response.headers["content-type"];
        const head = {
          status: response.statusCode ?? 500,
          headers: type === undefined ? {} : { "content-type": type },
        };
        reject(problemFrom(new Response(null, head), Buffer.concat(chunks).toString("utf8")));
        socket.terminate();
      });
    });
    void ended.then(() => reject(new Failure("unavailable", "EndpointUnreachable", "the console closed at once")));
  });
}

function bytesOf(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data;
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data);
}

function jsonOf(data: RawData): unknown {
  try {
    return JSON.parse(bytesOf(data).toString("utf8")) as unknown;
  } catch {
    return undefined; // refused by the schema
  }
}
