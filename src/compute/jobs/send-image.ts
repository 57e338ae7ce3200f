/**
 * Sends a file to VStation as an image's, over the host's own certificate, part by part. What VStation has of it is asked for first and
 * after each break, so a lost connection, a killed Compute or another VStation costs one part.
 */
import { open } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { Failure, isFailure } from "../../lib/errors.ts";
import type { ImageId } from "../../lib/ids.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { serverName, splitAddress, type Identity } from "../link/identity.ts";
import type { JobTools } from "./runner.ts";

export interface SendOptions {
  readonly servers: readonly string[];
  readonly identity: () => Identity | undefined;
}

const partBytes = 8 << 20;
const silenceMs = 60_000;
const longestRetryMs = 10_000;
/** In a row, each on the next server: then the job's next attempt goes on. */
const mostBreaks = 20;

export function imageSender(options: SendOptions) {
  return async (id: ImageId, file: string, { signal, progress }: JobTools): Promise<number> => {
    const handle = await open(file, "r");
    try {
      const { size } = await handle.stat();
      const buffer = Buffer.alloc(partBytes);
      for (let breaks = 0, at: number | undefined; ;) {
        signal.throwIfAborted();
        const server = options.servers[breaks % options.servers.length] ?? "";
        try {
          at ??= await call(options, server, { method: "HEAD", id, size, signal });
          if (at >= size) return size;
          const { bytesRead } = await handle.read(buffer, 0, Math.min(partBytes, size - at), at);
          const part = buffer.subarray(0, bytesRead);
          at = await call(options, server, { method: "PUT", id, size, signal, offset: at, part });
          breaks = 0;
          progress((at / size) * 100);
        } catch (error) {
          if (!isFailure(error, "unavailable") || ++breaks > mostBreaks) throw error;
          at = undefined;
          await sleep(backoff(breaks, 250, longestRetryMs), signal);
        }
      }
    } finally {
      await handle.close();
    }
  };
}

interface Call {
  readonly method: "HEAD" | "PUT";
  readonly id: ImageId;
  readonly size: number;
  readonly signal: AbortSignal;
  readonly offset?: number;
  readonly part?: Buffer;
}

/** Returns how much of it VStation has then. */
function call(options: SendOptions, server: string, it: Call): Promise<number> {
  const identity = options.identity();
  if (identity === undefined) throw new Failure("unavailable", "NotJoined", "this host has not joined VStation yet");
  const { host, port } = splitAddress(server);
  return new Promise((resolve, reject) => {
    const away = (cause: unknown): void =>
      reject(new Failure("unavailable", "ServerAway", `${server} did not take a part of the image`, { cause }));
    const answered = (answer: IncomingMessage): void => {
      answer.resume();
      const received = Number(answer.headers["x-received"]);
      const status = answer.statusCode ?? 0;
      if (status === 200 && Number.isSafeInteger(received)) return resolve(received);
      if (status === 404)
        return reject(new Failure("not_found", "ImageNotWanted", "VStation does not await this image"));
      return away(new Error(`it answered ${status}`));
    };
    const sent = request(
      {
        host,
        port,
        method: it.method,
        path: `/images/${it.id}/content?offset=${it.offset ?? 0}&total=${it.size}`,
        ca: identity.ca,
        cert: identity.certificate,
        key: identity.key,
        ...serverName(host),
        headers: { "content-length": it.part?.length ?? 0 },
        timeout: silenceMs,
        signal: it.signal,
      },
      answered,
    );
    sent.on("timeout", () => sent.destroy(new Error(`nothing heard for ${silenceMs} ms`)));
    sent.on("error", away);
    sent.end(it.part);
  });
}
