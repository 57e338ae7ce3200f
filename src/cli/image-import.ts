/**
 * Sending an image's file and following its import, with a progress line.
 *
 * The file goes in parts, each a request of its own: what VStation has of it is asked for after each break, so a lost connection or a
 * restarted VStation costs one part.
 */
import { open } from "node:fs/promises";
import type { NativeClient } from "../api/native/client.ts";
import { maxImagePart } from "../api/native/requests.ts";
import type { ImageWire } from "../api/native/resources.ts";
import { Failure, isFailure } from "../lib/errors.ts";
import type { ImageId } from "../lib/ids.ts";
import { sleep } from "../lib/retry.ts";
import type { Context } from "./context.ts";
import { outOfReach, ProgressLine } from "./progress-line.ts";
import { untilAtRest, type Look } from "./rest.ts";

const againMs = 1_000;
/** Out of reach for so long: an upload is given up. */
const patienceMs = 120_000;

export async function sendImage(context: Context, image: ImageWire, file: string): Promise<void> {
  const { client, io } = context;
  const line = new ProgressLine(context);
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
        line.show(`${image.id}: ${outOfReach}`);
        await sleep(againMs, io.signal);
        at = (await receivedOf(client, image.id, at)) ?? size;
      }
    }
  } finally {
    line.end();
    await handle.close();
  }
}

/** What VStation has of it: null = all, the import has gone on; as before while it does not answer. */
async function receivedOf(client: NativeClient, id: ImageId, before: number): Promise<number | null> {
  try {
    const { received, error } = await client.call("imageGet", { params: { id } });
    if (error !== null) throw new Failure("conflict", error.code, error.message);
    return received;
  } catch (error) {
    if (isFailure(error, "unavailable", "timeout")) return before;
    throw error;
  }
}

/** The image once its import has ended, whichever way. */
export async function waitForImage(context: Context, id: ImageId, timeoutMs: number): Promise<ImageWire> {
  let image: ImageWire | undefined;
  const look = async (signal: AbortSignal): Promise<Look> => {
    image = await context.client.call("imageGet", { params: { id } }, { signal });
    return { underWay: image.step === null ? null : `${image.step} ${image.progress} %` };
  };
  await untilAtRest(context, id, [id], look, timeoutMs);
  if (image === undefined) throw new Error("a wait ended well without a look");
  return image;
}
