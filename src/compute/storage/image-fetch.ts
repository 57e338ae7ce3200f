/**
 * Brings an image that this host lacks from VStation: over the host's own certificate, file by file, each checked against the digest
 * in the manifest, and into its place by one rename. One fetch at a time per image, whoever waits for it.
 *
 * A fetch may die anywhere. What it has lies in a hidden folder under the image's id; the next one goes on where a file ended and
 * checks the whole of it. A partial of other content fails its digest and is begun anew. VStation away: the other servers are
 * tried, then the instance's next attempt asks again.
 *
 * What was fetched carries a marker, and only that is ever evicted: longest unused first, when the cache is over its bound, and never
 * an image of an instance that this host knows of: overlays stand on its disk. Images that an operator put here stay.
 */
import { open, readdir, rename, rm, stat, utimes } from "node:fs/promises";
import type { IncomingMessage } from "node:http";
import { request } from "node:https";
import { join } from "node:path";
import { imageFiles, imageManifestSchema, type ImageManifest } from "../../core/image-manifest.ts";
import { fileDigest } from "../../lib/digest.ts";
import { makeDurableDirectory, syncDirectory, writeDurably } from "../../lib/durable.ts";
import { Failure, formatError, isFailure } from "../../lib/errors.ts";
import { parseId, type ImageId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { serverName, splitAddress, type Identity } from "../link/identity.ts";

export interface ImageFetchOptions {
  readonly directory: string;
  readonly servers: readonly string[];
  readonly identity: () => Identity | undefined;
  /** Images of instances that this host knows of; undefined while that cannot be told. */
  readonly inUse: () => ReadonlySet<ImageId> | undefined;
  readonly limitBytes: number;
  readonly log: Log;
}

/** Per cent, told as they grow. */
export type OnProgress = (percent: number) => void;

interface Fetch {
  readonly done: Promise<void>;
  readonly watchers: Set<OnProgress>;
}

/** Nothing came for so long: the connection is given up and the next server asked. */
const silenceMs = 30_000;
const largestManifest = 1 << 20;
const marker = "fetched";

export class ImageFetch {
  readonly #options: ImageFetchOptions;
  readonly #running = new Map<ImageId, Fetch>();

  constructor(options: ImageFetchOptions) {
    this.#options = options;
  }

  /** Resolves when the image is in its place; joins a fetch that is under way. */
  async fetch(id: ImageId, onProgress: OnProgress): Promise<void> {
    let running = this.#running.get(id);
    if (running === undefined) {
      const watchers = new Set<OnProgress>();
      const tell: OnProgress = (percent) => watchers.forEach((watcher) => watcher(percent));
      running = { watchers, done: this.#fetch(id, tell).finally(() => this.#running.delete(id)) };
      this.#running.set(id, running);
    }
    running.watchers.add(onProgress);
    try {
      await running.done;
    } finally {
      running.watchers.delete(onProgress);
    }
  }

  /** An image was used: it is the last to be evicted. One that was not fetched has no marker. */
  async used(id: ImageId): Promise<void> {
    const now = new Date();
    await utimes(join(this.#options.directory, id, marker), now, now).catch(() => undefined);
  }

  async #fetch(id: ImageId, tell: OnProgress): Promise<void> {
    const { servers, log } = this.#options;
    let last: unknown;
    for (const server of servers) {
      try {
        await this.#fetchFrom(server, id, tell);
        log.info({ imageId: id, server }, "an image was fetched");
        return;
      } catch (error) {
        if (!isFailure(error, "unavailable")) throw error;
        log.warn({ imageId: id, server, reason: formatError(error) }, "an image could not be fetched");
        last = error;
      }
    }
    throw new Failure("unavailable", "ImageMissing", `image ${id} could not be fetched from VStation`, { cause: last });
  }

  async #fetchFrom(server: string, id: ImageId, tell: OnProgress): Promise<void> {
    const { directory } = this.#options;
    const partial = join(directory, `.${id}.fetch`);
    await makeDurableDirectory(partial, 0o755);
    const manifest = await this.#manifest(server, id);
    const names = imageFiles(manifest);
    for (const name of names) if (manifest.sha256[name] === undefined) throw damaged(id, `no digest of ${name}`);
    // The disk is nearly all there is of it: its progress is the image's.
    for (const name of names) {
      const file = join(partial, name);
      const report = name === manifest.disk.file ? tell : () => undefined;
      await this.#file(server, id, name, file, report);
      if ((await fileDigest(file)) === manifest.sha256[name]) continue;
      await rm(file, { force: true });
      throw damaged(id, `${name} is not what its digest says`);
    }
    await writeDurably(join(partial, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`, 0o644);
    await writeDurably(join(partial, marker), "", 0o644);
    await this.#evict(id, partial);
    await rename(partial, join(directory, id)).catch(async (error: unknown) => {
      // A folder of another form or without a manifest stands in its place: it was no image.
      await rm(join(directory, id), { recursive: true, force: true });
      await rename(partial, join(directory, id)).catch(() => {
        throw error;
      });
    });
    await syncDirectory(directory);
  }

  async #manifest(server: string, id: ImageId): Promise<ImageManifest> {
    const answer = await this.#get(server, `/images/${id}/manifest.json`, 0);
    const parts: Buffer[] = [];
    let size = 0;
    for await (const part of answer as AsyncIterable<Buffer>) {
      size += part.length;
      if (size > largestManifest) throw damaged(id, "its manifest is too long");
      parts.push(part);
    }
    const parsed = imageManifestSchema.safeParse(jsonOf(Buffer.concat(parts)));
    if (!parsed.success || parsed.data.id !== id) throw damaged(id, "its manifest cannot be read");
    return parsed.data;
  }

  /** Appends what is missing of one file. */
  async #file(server: string, id: ImageId, name: string, file: string, tell: OnProgress): Promise<void> {
    const handle = await open(file, "a", 0o644);
    try {
      let have = (await handle.stat()).size;
      const answer = await this.#get(server, `/images/${id}/${name}`, have);
      if (answer.statusCode === 416) return void answer.resume();
      // A server that does not know ranges begins anew, and so do we.
      if (answer.statusCode === 200 && have > 0) await handle.truncate((have = 0));
      const total = have + Number(answer.headers["content-length"] ?? 0);
      let told = -1;
      try {
        for await (const part of answer as AsyncIterable<Buffer>) {
          await handle.write(part);
          have += part.length;
          const percent = total === 0 ? 100 : Math.floor((have / total) * 100);
          if (percent !== told) tell((told = percent));
        }
      } catch (cause) {
        if (cause instanceof Error && "code" in cause && cause.code === "ENOSPC") throw cause;
        throw new Failure("unavailable", "ImageFetchCut", `the connection broke at ${have} bytes`, { cause });
      }
      if (have < total) throw new Failure("unavailable", "ImageFetchCut", `${name} ended at ${have} of ${total} bytes`);
      await handle.sync();
    } finally {
      await handle.close();
    }
  }

  #get(server: string, path: string, from: number): Promise<IncomingMessage> {
    const identity = this.#options.identity();
    const { host, port } = splitAddress(server);
    const away = (cause: unknown): Failure =>
      new Failure("unavailable", "ServerAway", `${server} did not answer`, { cause });
    if (identity === undefined) throw new Failure("unavailable", "NotJoined", "this host has not joined VStation yet");
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          host,
          port,
          path,
          ca: identity.ca,
          cert: identity.certificate,
          key: identity.key,
          ...serverName(host),
          headers: from > 0 ? { range: `bytes=${from}-` } : {},
          timeout: silenceMs,
        },
        (answer) => {
          const status = answer.statusCode ?? 0;
          if (status === 200 || status === 206 || status === 416) return resolve(answer);
          answer.resume();
          if (status === 404)
            return reject(new Failure("not_found", "ImageMissing", "VStation has no such image for this host"));
          return reject(away(new Error(`it answered ${status}`)));
        },
      );
      sent.on("timeout", () => sent.destroy(new Error(`nothing heard for ${silenceMs} ms`)));
      sent.on("error", (error) => reject(away(error)));
      sent.end();
    });
  }

  /** Makes room for what lies in `arriving`, as far as that can be had from images that nobody here uses. */
  async #evict(arrivingId: ImageId, arriving: string): Promise<void> {
    const { directory, inUse, limitBytes, log } = this.#options;
    const fetched: { id: ImageId; bytes: number; usedAt: number }[] = [];
    for (const name of await readdir(directory)) {
      const id = parseId("image", name);
      const mark = id && (await stat(join(directory, name, marker)).catch(() => undefined));
      if (id !== undefined && mark !== undefined) {
        fetched.push({ id, bytes: await sizeOf(join(directory, name)), usedAt: mark.mtimeMs });
      }
    }
    let total = fetched.reduce((sum, { bytes }) => sum + bytes, await sizeOf(arriving));
    const used = inUse();
    if (used === undefined) return;
    for (const { id, bytes } of fetched.toSorted((a, b) => a.usedAt - b.usedAt)) {
      if (total <= limitBytes) return;
      if (id === arrivingId || used.has(id)) continue;
      // Hidden first: a half removed image must not be found.
      const going = join(directory, `.${id}.going`);
      await rm(going, { recursive: true, force: true });
      await rename(join(directory, id), going);
      await rm(going, { recursive: true, force: true });
      log.info({ imageId: id, bytes }, "an image that nobody uses made room for another");
      total -= bytes;
    }
  }
}

function damaged(id: ImageId, why: string): Failure {
  return new Failure("unavailable", "ImageDamaged", `image ${id} as VStation sent it is damaged: ${why}`);
}

function jsonOf(content: Buffer): unknown {
  try {
    return JSON.parse(content.toString());
  } catch {
    return undefined; // refused by the schema that comes next
  }
}

/** Bytes on the disk of a folder's files. */
async function sizeOf(directory: string): Promise<number> {
  let sum = 0;
  for (const name of await readdir(directory)) sum += (await stat(join(directory, name))).blocks * 512;
  return sum;
}
