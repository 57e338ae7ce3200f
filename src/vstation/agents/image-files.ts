/**
 * GET /images/ID/FILE on the hosts' listener: an image's files for a host that has an instance of it and not the image. A host gets
 * what it needs and no more: another account's image is none of its business before an instance of it is placed there.
 *
 * Only names that the manifest itself names are served, so no path can leave the image's folder. Ranges let a host go on where a
 * connection broke. Downloads are few at a time: each one more would only make all of them slower, and a host asks again.
 */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { imageFiles } from "../../core/image-manifest.ts";
import { formatError } from "../../lib/errors.ts";
import { parseId, type HostId, type ImageId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { ImagesFromHosts } from "../images/from-host.ts";
import type { ImageFolder } from "../app/image-folder.ts";

export interface ImageFilesContext {
  folder: ImageFolder;
  log: Log;
  /** Has this host an instance of this image? */
  mayHave: (hostId: HostId, imageId: ImageId) => Promise<boolean>;
  incoming: ImagesFromHosts;
}

const most = 8;
const retrySeconds = 5;

export class ImageFiles {
  readonly #context: ImageFilesContext;
  #serving = 0;

  constructor(context: ImageFilesContext) {
    this.#context = context;
  }

  static is(url: string | undefined): boolean {
    return url?.startsWith("/images/") === true;
  }

  /** Answers in any case; what goes wrong on the way cuts the connection, and the host goes on where it was. */
  async answer(hostId: HostId | undefined, request: IncomingMessage, response: ServerResponse): Promise<void> {
    const [path = "", query = ""] = (request.url ?? "").split("?", 2);
    const [, , imageText = "", name = "", ...rest] = path.split("/");
    const imageId = parseId("image", imageText);
    if (hostId === undefined) return end(response, 403);
    if (imageId !== undefined && name === "content" && request.method !== "GET") {
      return this.#take(hostId, imageId, new URLSearchParams(query), request, response);
    }
    if (request.method !== "GET" || imageId === undefined || rest.length > 0) return end(response, 404);
    if (this.#serving >= most) return end(response, 503, { "retry-after": String(retrySeconds) });
    this.#serving++;
    try {
      await this.#send(hostId, imageId, name, request, response);
    } catch (error) {
      this.#context.log.debug({ chain: formatError(error), hostId, imageId, name }, "an image file was cut off");
      response.destroy();
    } finally {
      this.#serving--;
    }
  }

  /** HEAD asks how much is here, PUT brings the next part; `x-received` answers both. */
  async #take(
    hostId: HostId,
    imageId: ImageId,
    query: URLSearchParams,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { incoming, log } = this.#context;
    const [offset, total] = [Number(query.get("offset") ?? Number.NaN), Number(query.get("total") ?? Number.NaN)];
    const wellFormed = Number.isSafeInteger(offset) && Number.isSafeInteger(total) && offset >= 0 && total > 0;
    if (!wellFormed || (request.method !== "PUT" && request.method !== "HEAD")) return end(response, 400);
    try {
      const received =
        request.method === "HEAD"
          ? await incoming.received(hostId, imageId, total)
          : await incoming.take(hostId, imageId, { offset, total, content: request });
      if (received === undefined) return end(response, 404);
      return end(response, 200, { "x-received": String(received) });
    } catch (error) {
      log.info({ chain: formatError(error), hostId, imageId }, "a part of an image was not taken");
      return end(response, 503, { "retry-after": String(retrySeconds), connection: "close" });
    }
  }

  async #send(
    hostId: HostId,
    imageId: ImageId,
    name: string,
    request: IncomingMessage,
    response: ServerResponse,
  ): Promise<void> {
    const { folder, mayHave } = this.#context;
    const image = (await mayHave(hostId, imageId)) ? await folder.find(imageId) : undefined;
    if (image === undefined || !["manifest.json", ...imageFiles(image.manifest)].includes(name))
      return end(response, 404);
    const file = join(folder.directory, imageId, name);
    const { size } = await stat(file);
    const start = rangeStart(request.headers.range, size);
    if (start === undefined) return end(response, 416, { "content-range": `bytes */${size}` });
    const headers = { "content-type": "application/octet-stream", "content-length": size - start };
    if (start === 0) response.writeHead(200, headers);
    else response.writeHead(206, { ...headers, "content-range": `bytes ${start}-${size - 1}/${size}` });
    // A file that is sent in full from its end on has nothing to read.
    await pipeline(createReadStream(file, { start, end: Math.max(start, size - 1) }), response);
  }
}

/** Where to begin: hosts ask for the rest of a file ("bytes=N-") or for all of it. undefined: there is nothing from there on. */
function rangeStart(range: string | undefined, size: number): number | undefined {
  const start = Number(/^bytes=(\d{1,15})-$/.exec(range ?? "")?.[1] ?? 0);
  return start < size || start === 0 ? start : undefined;
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, "content-length": 0 }).end();
}
