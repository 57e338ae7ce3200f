/**
 * Reading a request's body with a bound. What is over it is not kept, and neither is what nobody will read: the rest is drained
 * for a while so that the client, still sending, gets to read the answer, and then the connection is cut.
 */
import type { IncomingMessage } from "node:http";
import { Refusal } from "./error-codes.ts";

/** The documented limit of a signed POST. */
export const maximumBody = 10 * 1024 * 1024;

/** How much longer a refused body may go on. */
const drainedBytes = 64 * 1024 * 1024;
const drainedMs = 10_000;

/** The client went away before its request was whole; there is nobody to answer. */
export class Gone extends Error {
  constructor() {
    super("the client went away in the middle of its request");
    this.name = "Gone";
  }
}

/** The whole body; throws a Refusal when it is larger than the limit, {@link Gone} when it never ends. */
export function readBody(request: IncomingMessage, maximum: number = maximumBody): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const settle = (outcome: () => void): void => {
      request.off("data", onData).off("end", onEnd).off("close", onGone).off("error", onGone);
      outcome();
    };
    const onData = (chunk: Buffer): void => {
      size += chunk.length;
      if (size <= maximum) chunks.push(chunk);
      else settle(() => reject(tooLarge(maximum)));
    };
    const onEnd = (): void => settle(() => resolve(Buffer.concat(chunks)));
    const onGone = (): void => settle(() => reject(new Gone()));
    if (request.destroyed && !request.complete) return onGone();
    if (Number(request.headers["content-length"] ?? 0) > maximum) return reject(tooLarge(maximum));
    request.on("data", onData).on("end", onEnd).on("close", onGone).on("error", onGone);
  });
}

/** Lets go of what is left of a request that has its answer already. */
export function drain(request: IncomingMessage): void {
  if (request.complete || request.destroyed) return;
  let left = drainedBytes;
  const cut = (): void => void request.destroy();
  const timer = setTimeout(cut, drainedMs).unref();
  // Listening makes it flow.
  request.on("data", (chunk: Buffer) => {
    left -= chunk.length;
    if (left < 0) cut();
  });
  request.on("error", () => undefined);
  request.once("close", () => clearTimeout(timer));
  request.once("end", () => clearTimeout(timer));
}

function tooLarge(maximum: number): Refusal {
  return new Refusal("RequestSizeLimitExceeded", `The body is larger than ${maximum} bytes.`);
}
