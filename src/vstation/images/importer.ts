/**
 * Brings imports to their end: a saga of named steps (core/image.ts), each written down before it begins, in a row of SQL that is
 * its only memory. Whoever holds the zone's lease runs it. A kill at any moment leaves a row at a step and a folder
 * `.import/<id>` below the images; the next runner makes that step again: a download goes on where it was, a conversion from its
 * beginning. Every import ends as NORMAL, or as IMPORTFAILED with a sentence; past its deadline it does so whatever happens.
 *
 * Undo is one thing for all steps: the folder goes. It goes when the import has ended or was deleted, and at the start whatever
 * lies there of no open import. The image's own folder appears whole, by a rename, before the row says NORMAL; found there
 * after a crash in between, it is what the row then says. A runner that lost its lease and did not notice works beside the next one
 * on files of its own names; its last word changes nothing, because the row has ended.
 */
import { randomBytes } from "node:crypto";
import { copyFile, mkdir, readdir, rename, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { ImageManifest } from "../../core/image-manifest.ts";
import { importProgress, ImportRefusal, plainMachine, type ImportStep } from "../../core/image.ts";
import { fileDigest } from "../../lib/digest.ts";
import { makeDurableDirectory, syncDirectory, writeDurably } from "../../lib/durable.ts";
import { formatError, isFailure, isNoSpace, unreachable } from "../../lib/errors.ts";
import { parseId, type ImageId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import type { ImageFolder } from "../app/image-folder.ts";
import type { VStationConfig } from "../config.ts";
import { isAway, logRetry, type Store } from "../store/database.ts";
import {
  imageCopies,
  imageEnd,
  imageProgress,
  imagesDue,
  imagesOpen,
  imageStep,
  imageSwept,
  imagesUnused,
  type ImageRow,
} from "../store/images.ts";
import { jobEnd } from "../store/jobs.ts";
import { AddressPolicy } from "./addresses.ts";
import { convertDisk, honestGrowth, sourceName } from "./convert.ts";
import { download } from "./download.ts";

export interface ImporterOptions {
  store: Store;
  folder: ImageFolder;
  limits: VStationConfig["imports"];
  log: Log;
}

/** Uploads that end at another replica, and deadlines, are seen this often. */
const lookEveryMs = 2_000;
const sweepEveryMs = 60_000;
/** Between a deletion and the end of the files: a request that had read the image before may still be on its way. */
const graceSeconds = 600;
const tellEveryMs = 500;
const downloadTries = 4;
/** A server that trickles must not keep others waiting; conversions side by side end no sooner, and each takes memory. */
const places: Readonly<Record<ImportStep, { all: number; perAccount: number }>> = {
  receive: { all: 100, perAccount: 100 },
  fetch: { all: 16, perAccount: 3 },
  convert: { all: 2, perAccount: 1 },
};
const gib = 2 ** 30;

/** Where an import's files lie. */
export function importFolder(directory: string, id: ImageId): string {
  return join(directory, ".import", id);
}

export class Importer {
  readonly #options: ImporterOptions;
  readonly #stop = new AbortController();
  readonly #loopEnded: Promise<void>;
  /** What is being worked on, with whose and which kind it is. */
  readonly #working = new Map<ImageId, { row: ImageRow; done: Promise<void> }>();
  #woken = Promise.withResolvers<void>();
  #sweptAt = -Infinity;

  constructor(options: ImporterOptions) {
    this.#options = options;
    this.#loopEnded = this.#loop();
  }

  /** There may be something to do. */
  nudge(): void {
    this.#woken.resolve();
  }

  /** Ends what runs; the next runner makes it again. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.nudge();
    await this.#loopEnded;
    await Promise.all([...this.#working.values()].map(({ done }) => done));
  }

  async #loop(): Promise<void> {
    const { log, store } = this.#options;
    for (let failures = 0; !this.#stop.signal.aborted;) {
      this.#woken = Promise.withResolvers();
      try {
        await this.#sweep();
        await this.#lookAtCopies();
        for (const row of await store.read(imagesDue)) this.#begin(row);
        failures = 0;
      } catch (error) {
        logRetry(log, error, "imports could not be looked after; trying again");
        failures++;
      }
      const pause = failures > 0 ? backoff(failures, 500, 10_000) : lookEveryMs;
      await Promise.race([this.#woken.promise, sleep(pause, this.#stop.signal).catch(() => undefined)]);
    }
  }

  /** Takes it up if there is a place for it; one that waits is found again by the next look. */
  #begin(row: ImageRow): void {
    const { log } = this.#options;
    if (row.step === null || this.#working.has(row.id) || this.#stop.signal.aborted) return;
    const others = [...this.#working.values()].filter((other) => other.row.step === row.step);
    const own = others.filter((other) => other.row.accountId === row.accountId);
    const { all, perAccount } = places[row.step];
    if (others.length >= all || own.length >= perAccount) return;
    const done = this.#work(row)
      .finally(() => this.#working.delete(row.id))
      .then(
        () => this.nudge(),
        // The next look tries it again, not the next moment.
        (error: unknown) => logRetry(log, error, "an import could not be brought on; it is tried again"),
      );
    this.#working.set(row.id, { row, done });
  }

  /** Makes the step that it is at. */
  async #work(row: ImageRow): Promise<void> {
    const { store, folder, log } = this.#options;
    const { id, step } = row;
    if (step === null || this.#stop.signal.aborted) return;
    try {
      await this.#take(row, step);
    } catch (error) {
      if (this.#stop.signal.aborted) return;
      // Not by what lies under a refusal: the server of an image's URL may be away as the database may.
      if (!(error instanceof ImportRefusal) && (isAway(error) || isFailure(error, "unavailable"))) throw error;
      const refusal = refusalOf(error);
      log[refusal.code === "ConversionFailed" ? "warn" : "info"](
        { imageId: id, code: refusal.code, chain: formatError(error) },
        "an import ended without an image",
      );
      await imageEnd(store, id, { failure: { code: refusal.code, message: refusal.message } });
      await rm(importFolder(folder.directory, id), { recursive: true, force: true });
    }
  }

  async #take(row: ImageRow, step: ImportStep): Promise<void> {
    const left = (row.deadline?.getTime() ?? 0) - Date.now();
    switch (step) {
      case "receive":
        if (left > 0) return;
        throw new ImportRefusal("UploadMissing", "its file did not arrive in time: import it again");
      case "fetch":
        if (left <= 0) throw tookTooLong("its download");
        return this.#fetch(row, left);
      case "convert":
        if (left <= 0) throw tookTooLong("its conversion");
        return this.#convert(row, left);
      default:
        return unreachable(step);
    }
  }

  async #fetch(row: ImageRow, leftMs: number): Promise<void> {
    const { store, folder, limits } = this.#options;
    const { from } = row.request;
    if (!("url" in from)) throw new Error(`${row.id} is at the step "fetch" and has no URL`);
    const work = importFolder(folder.directory, row.id);
    await makeDurableDirectory(work, 0o700);
    const watch = this.#watch(row.id, "fetch", leftMs);
    try {
      for (let tries = 1; ; tries++) {
        try {
          await download({
            url: from.url,
            file: join(work, sourceName),
            policy: new AddressPolicy(limits.allowedNetworks),
            maxBytes: limits.maxSourceGiB * gib,
            signal: watch.signal,
            onProgress: watch.tell,
          });
          break;
        } catch (error) {
          if (watch.late()) throw tookTooLong("its download");
          const again = error instanceof ImportRefusal && error.code === "DownloadFailed" && tries < downloadTries;
          if (!again) throw error;
          await sleep(backoff(tries, 500, 10_000), watch.signal);
        }
      }
    } finally {
      await watch.end();
    }
    await imageStep(store, row.id, "fetch", "convert", new Date(Date.now() + limits.maxMinutes * 60_000));
  }

  async #convert(row: ImageRow, leftMs: number): Promise<void> {
    const { store, folder, limits } = this.#options;
    const { id } = row;
    const { from } = row.request;
    const kernelOf = "instance" in from ? from.kernelOf : undefined;
    const work = importFolder(folder.directory, id);
    const there = await folder.find(id);
    if (there !== undefined) return await this.#end(there.manifest, work);
    await removeLeftovers(work);
    const watch = this.#watch(id, "convert", leftMs);
    const attempt = `attempt-${randomBytes(4).toString("hex")}`;
    const diskName = `${attempt}.qcow2`;
    try {
      const { virtualBytes } = await convertDisk({
        format: row.request.format,
        work,
        diskName,
        maxVirtualBytes: limits.maxVirtualGiB * gib,
        maxMs: leftMs,
        growth: honestGrowth,
        partitioned: kernelOf === undefined,
        signal: watch.signal,
        onProgress: watch.tell,
      });
      const image = join(work, attempt);
      await mkdir(image, { mode: 0o755 });
      await rename(join(work, diskName), join(image, "disk.qcow2"));
      const digest = await fileDigest(join(image, "disk.qcow2"), watch.signal);
      const manifest = await withKernel(folder, image, manifestOf(row, virtualBytes, digest), kernelOf);
      await writeDurably(join(image, "manifest.json"), `${JSON.stringify(manifest, null, 2)}\n`, 0o644);
      // Deleted meanwhile: then it is not put where only a sweep would find it.
      if (watch.signal.aborted || !(await imageProgress(store, id, "convert", 99))) return;
      await rename(image, join(folder.directory, id));
      await syncDirectory(folder.directory);
      await this.#end(manifest, work);
    } catch (error) {
      throw watch.late() ? tookTooLong("its conversion") : error;
    } finally {
      await watch.end();
    }
  }

  async #end(manifest: ImageManifest, work: string): Promise<void> {
    const { store, folder, log } = this.#options;
    const sizeBytes = (await stat(join(folder.directory, manifest.id, manifest.disk.file))).blocks * 512;
    await imageEnd(store, manifest.id, { manifest, sizeBytes });
    log.info({ imageId: manifest.id, sizeBytes }, "an image was imported");
    await rm(work, { recursive: true, force: true });
  }

  /** Writes progress down now and then, and ends the work when the row is no longer at this step, or its time is over. */
  #watch(id: ImageId, step: ImportStep, leftMs: number) {
    const { store, log } = this.#options;
    const gone = new AbortController();
    const late = AbortSignal.timeout(leftMs);
    let share = 0;
    let written = -1;
    let writing: Promise<unknown> = Promise.resolve();
    const timer = setInterval(() => {
      const progress = importProgress(step, share);
      if (progress === written) return;
      written = progress;
      writing = imageProgress(store, id, step, progress).then(
        (there) => (there ? undefined : gone.abort(new Error("the import was deleted"))),
        (error: unknown) => logRetry(log, error, "an import's progress could not be written"),
      );
    }, tellEveryMs);
    return {
      signal: AbortSignal.any([this.#stop.signal, gone.signal, late]),
      late: () => late.aborted,
      tell: (part: number): void => {
        share = part;
      },
      end: async (): Promise<void> => {
        clearInterval(timer);
        await writing;
      },
    };
  }

  /** What hosts say of the copies that they make of instances' disks; each order is ended here, once. */
  async #lookAtCopies(): Promise<void> {
    const { store, log } = this.#options;
    for (const { jobId, imageId, step, seen } of await store.read(imageCopies)) {
      if (step === "receive" && seen?.is === "running") {
        await imageProgress(store, imageId, step, importProgress(step, seen.percent / 100));
      }
      // Its file is here before it says that it is done; without one it never will be.
      const failed = step === "receive" && (seen?.is === "failed" || seen?.is === "done");
      if (failed) {
        const why = seen.is === "failed" ? seen.message : "its host says that it has sent it, and it is not here";
        log.info({ imageId, reason: why }, "an instance's disk could not be copied");
        const message = `the instance's disk could not be copied: ${why}`;
        await imageEnd(store, imageId, { failure: { code: "CopyFailed", message } });
      }
      // One whose file is here is ended when its host has said so: until then the host may ask again.
      if (failed || step === null || seen?.is === "done") await store.transaction((tx) => jobEnd(tx, jobId));
    }
  }

  /** Clears away what belongs to no open import, and the files of deleted images that no instance uses any more. */
  async #sweep(): Promise<void> {
    const { store, folder } = this.#options;
    if (performance.now() - this.#sweptAt < sweepEveryMs) return;
    this.#sweptAt = performance.now();
    const root = join(folder.directory, ".import");
    const names = await readdir(root).catch(ignoreMissing);
    // Asked after the folder was read: a row is there before its folder.
    const open: ReadonlySet<string> = await store.read((db) =>
      imagesOpen(
        db,
        names.flatMap((name) => parseId("image", name) ?? []),
      ),
    );
    for (const name of names) if (!open.has(name)) await rm(join(root, name), { recursive: true, force: true });
    for (const id of await store.read((db) => imagesUnused(db, graceSeconds))) {
      // Hidden first: a half removed image must not be found.
      const going = join(folder.directory, `.${id}.going`);
      await rename(join(folder.directory, id), going).catch(ignoreMissing);
      await rm(going, { recursive: true, force: true });
      await imageSwept(store, id);
    }
  }
}

function manifestOf(row: ImageRow, virtualBytes: number, digest: string): ImageManifest {
  const { request } = row;
  const machine = request.machine ?? plainMachine;
  return {
    id: row.id,
    name: row.name,
    format: 1,
    architecture: "x86_64",
    boot:
      request.bootMode === "bios"
        ? { kind: "disk", firmware: "bios" }
        : { kind: "disk", firmware: "uefi", secureBoot: machine.secureBoot },
    machine: { tpm: machine.tpm, hyperv: machine.hyperv },
    disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: Math.max(1, Math.ceil(virtualBytes / gib)) },
    minMemoryMiB: request.minMemoryMiB,
    osName: request.osName,
    platform: request.platform,
    sha256: { "disk.qcow2": digest },
    ...(row.accountId === null ? {} : { private: true }),
  };
}

/** An image of a guest whose kernel the host gives it takes that kernel along. */
async function withKernel(
  folder: ImageFolder,
  image: string,
  manifest: ImageManifest,
  kernelOf: ImageId | undefined,
): Promise<ImageManifest> {
  if (kernelOf === undefined) return manifest;
  const base = (await folder.find(kernelOf))?.manifest;
  if (base?.boot.kind !== "direct") throw new Error(`the image ${kernelOf} has no kernel of its own`);
  const { kernel, initrd } = base.boot;
  const sha256 = { ...manifest.sha256 };
  for (const name of [kernel, initrd]) {
    await copyFile(join(folder.directory, kernelOf, name), join(image, name));
    sha256[name] = base.sha256[name] ?? (await fileDigest(join(image, name)));
  }
  return { ...manifest, boot: base.boot, sha256 };
}

/** What an attempt that died has left beside the source. */
async function removeLeftovers(work: string): Promise<void> {
  for (const name of await readdir(work).catch(ignoreMissing)) {
    if (!name.startsWith(sourceName)) await rm(join(work, name), { recursive: true, force: true });
  }
}

/** Whatever ends an import is told in a sentence that its owner may read; what is our own fault stands in the log. */
function refusalOf(error: unknown): ImportRefusal {
  if (error instanceof ImportRefusal) return error;
  if (isNoSpace(error)) return new ImportRefusal("OutOfSpace", "the folder of images has no room for it");
  return new ImportRefusal(
    "ConversionFailed",
    "an error on our side ended it; the log has it under the image's id",
    error,
  );
}

function tookTooLong(what: string): ImportRefusal {
  return new ImportRefusal(
    "TookTooLong",
    `${what} took longer than it may: see imports.maxMinutes in the configuration`,
  );
}

function ignoreMissing(error: NodeJS.ErrnoException): string[] {
  if (error.code === "ENOENT") return [];
  throw error;
}
