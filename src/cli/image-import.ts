/**
 * Sending an image's file and following its import, with a progress line.
 *
 * The file goes in parts, each a request of its own: what VStation has of it is asked for after each break, so a lost connection or a
 * restarted VStation costs one part, and a run that was interrupted goes on when the same command is given again. Bytes that VStation
 * has and that no answer told us of are compared before they count: they may be somebody else's.
 */
import { createHash } from "node:crypto";
import { open, type FileHandle } from "node:fs/promises";
import type { NativeClient } from "../api/native/client.ts";
import { maxImageDigest, maxImagePart } from "../api/native/requests.ts";
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

/** Begins where an earlier run was cut off, once what arrived is seen to be the beginning of this file. */
export async function sendImage(context: Context, image: ImageWire, file: string): Promise<void> {
  const { client, io } = context;
  const line = new ProgressLine(context);
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const percent = (bytes: number): number => Math.floor((bytes / size) * 100);
    const buffer = Buffer.alloc(maxImagePart);
    const found = image.received ?? 0;
    // What VStation has, and what of it is known to be of this file: by an answer to us, or by its digest.
    let [there, at] = [found, 0];
    let lastGood = performance.now();
    while (at < size) {
      try {
        if (at < there) {
          line.show(`${image.id}: comparing what is there, ${percent(at)} %`);
          at = await compared(client, image, { file, handle, buffer }, at, there);
          if (at === found) {
            line.end();
            context.say(`${image.id}: resuming at ${percent(at)} %`);
          }
        } else {
          const { bytesRead } = await handle.read(buffer, 0, Math.min(maxImagePart, size - at), at);
          if (bytesRead === 0) throw new Failure("conflict", "FileChanged", `${file} became shorter while it was sent`);
          at = there = await client.sendImage(image.id, at, buffer.subarray(0, bytesRead));
          line.show(`${image.id}: sent ${percent(at)} %`);
        }
        lastGood = performance.now();
      } catch (error) {
        const again =
          isFailure(error, "unavailable", "timeout") || (isFailure(error) && error.code === "ImageNotReceiving");
        if (!again || performance.now() - lastGood > patienceMs) throw error;
        line.show(`${image.id}: ${outOfReach}`);
        await sleep(againMs, io.signal);
        const received = await receivedOf(client, image.id, there);
        if (received === null) return;
        there = received;
        at = Math.min(at, there);
      }
    }
  } finally {
    line.end();
    await handle.close();
  }
}

interface Source {
  readonly file: string;
  readonly handle: FileHandle;
  readonly buffer: Buffer;
}

/** How far what is there is of the file, seen a piece further from `at` on. */
async function compared(
  client: NativeClient,
  { id, name }: ImageWire,
  source: Source,
  at: number,
  there: number,
): Promise<number> {
  const part = { offset: at, bytes: Math.min(there - at, maxImageDigest) };
  const [{ sha256 }, ours] = await Promise.all([
    client.call("imageContentDigest", { params: { id }, query: part }),
    digestOf(source, part),
  ]);
  if (sha256 === ours) return at + part.bytes;
  throw new Failure("conflict", "ImageFileDiffers", `what VStation has of ${name} (${id}) is not of ${source.file}`);
}

async function digestOf({ handle, buffer }: Source, part: { offset: number; bytes: number }): Promise<string> {
  const hash = createHash("sha256");
  const end = part.offset + part.bytes;
  for (let at = part.offset; at < end;) {
    const { bytesRead } = await handle.read(buffer, 0, Math.min(buffer.length, end - at), at);
    // A file that is shorter than it was differs, too.
    if (bytesRead === 0) break;
    hash.update(buffer.subarray(0, bytesRead));
    at += bytesRead;
  }
  return hash.digest("hex");
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
