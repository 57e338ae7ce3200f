/**
 * Sending an image's file and following its import, with a progress line.
 *
 * The file goes in parts, each a request of its own: what VStation has of it is asked for at the start and after each break, so a
 * lost connection or a restarted VStation costs one part. The wait looks at the image itself again and again; out of reach is
 * waited out, until the deadline.
 */
import { open } from "node:fs/promises";
import type { NativeClient } from "../api/native/client.ts";
import { maxImagePart } from "../api/native/requests.ts";
import type { ImageWire } from "../api/native/resources.ts";
import { Failure, isFailure } from "../lib/errors.ts";
import type { ImageId } from "../lib/ids.ts";
import { sleep } from "../lib/retry.ts";
import type { Context } from "./context.ts";

const lookEveryMs = 1_000;
/** Out of reach for so long: an upload is given up; it may be taken up again within the hour. */
const patienceMs = 120_000;

export async function sendImage(context: Context, image: ImageWire, file: string): Promise<void> {
  const { client, io } = context;
  const line = new ImageLine(context);
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const buffer = Buffer.alloc(maxImagePart);
    let at = image.received ?? 0;
    let lastGood = performance.now();
    while (at < size) {
      const { bytesRead } = await handle.read(buffer, 0, Math.min(maxImagePart, size - at), at);
      if (bytesRead === 0) throw new Failure("conflict", "FileChanged", `${file} became shorter while it was sent`);
      try {
        at = await client.sendImage(image.id, at, buffer.subarray(0, bytesRead));
        lastGood = performance.now();
        line.show(`${image.id}: sent ${Math.floor((at / size) * 100)} %`);
      } catch (error) {
        const again =
          isFailure(error, "unavailable", "timeout") || (isFailure(error) && error.code === "ImageNotReceiving");
        if (!again || performance.now() - lastGood > patienceMs) throw error;
        line.show(`${image.id}: VStation is out of reach; trying again`);
        await sleep(lookEveryMs, io.signal);
        at = await whereToGoOn(client, image.id, at, error);
      }
    }
  } finally {
    line.end();
    await handle.close();
  }
}

/** What VStation has of it; as before while it does not answer. */
async function whereToGoOn(client: NativeClient, id: ImageId, at: number, broke: unknown): Promise<number> {
  try {
    const { received, error } = await client.call("imageGet", { params: { id } });
    if (received !== null) return received;
    throw error === null ? broke : new Failure("conflict", error.code, error.message);
  } catch (error) {
    if (isFailure(error, "unavailable", "timeout")) return at;
    throw error;
  }
}

/** The image once its import has ended, whichever way. */
export async function waitForImage(context: Context, id: ImageId, timeoutMs: number): Promise<ImageWire> {
  const line = new ImageLine(context);
  const end = performance.now() + timeoutMs;
  try {
    for (;;) {
      const image = await context.client.call("imageGet", { params: { id } }).catch((error: unknown) => {
        if (isFailure(error, "unavailable", "timeout")) return undefined;
        throw error;
      });
      if (image !== undefined && image.step === null) return image;
      const how = image === undefined ? "VStation is out of reach; trying again" : `${image.step} ${image.progress} %`;
      line.show(`${id}: ${how}`);
      if (performance.now() > end) {
        throw new Failure("timeout", "DeadlineExceeded", `${id} had not ended after ${Math.round(timeoutMs / 1000)} s`);
      }
      await sleep(lookEveryMs, context.io.signal);
    }
  } finally {
    line.end();
  }
}

/** One line that rewrites itself on a terminal, a line per change elsewhere, nothing for programs. */
class ImageLine {
  readonly #context: Context;
  #shown = "";

  constructor(context: Context) {
    this.#context = context;
  }

  show(text: string): void {
    if (text === this.#shown) return;
    this.#shown = text;
    if (this.#context.json) return;
    if (this.#context.io.errIsTty) this.#context.io.err(`\r\x1b[K${text}`);
    else this.#context.say(text);
  }

  end(): void {
    if (this.#shown !== "" && !this.#context.json && this.#context.io.errIsTty) this.#context.io.err("\r\x1b[K");
    this.#shown = "";
  }
}
