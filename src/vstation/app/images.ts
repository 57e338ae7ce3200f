/** Images: those of the folder, which are everybody's, and those that accounts have brought. */
import { isDeepStrictEqual } from "node:util";
import { failure } from "../../core/failure-codes.ts";
import type { ImageManifest } from "../../core/image-manifest.ts";
import { importProgress, ImportRefusal, plainMachine, type GuestMachine } from "../../core/image.ts";
import { newId, type AccountId, type ImageId } from "../../lib/ids.ts";
import type { AnyCaller, Caller } from "../cloud.ts";
import type { Images, ImageView } from "../cloud/images.ts";
import { checkUrl } from "../images/download.ts";
import { receivedDigest, Receiver, receivedOf } from "../images/receive.ts";
import { violatedConstraint, type Reader, type Tx } from "../store/database.ts";
import {
  imageDelete,
  imageInsert,
  imageList,
  imageModify,
  imageProgress,
  imagesKnown,
  imageStep,
  type ImageRow,
} from "../store/images.ts";
import { quotaLimits, quotaTake, quotaUsed } from "../store/quotas.ts";
import type { AppContext } from "./context.ts";
import { imageCreate } from "./image-create.ts";
import type { FolderImage, ImageFolder } from "./image-folder.ts";

/** How long the next part of an upload may keep us waiting. */
const uploadMs = 3_600_000;
const gib = 2 ** 30;

type Parts = Pick<AppContext, "store" | "folder" | "config" | "imports">;

export function images({ store, folder, config, imports }: Parts): Images {
  const receiver = new Receiver(folder.directory);
  const minutes = config.imports.maxMinutes * 60_000;

  const named = async <T>(work: () => Promise<T>, name: string | undefined): Promise<T> => {
    try {
      return await work();
    } catch (error) {
      if (violatedConstraint(error) !== "image_name_once") throw error;
      throw failure("ImageNameTaken", `there is an image named ${name ?? ""} already`, { cause: error });
    }
  };
  /** The row, if it is the caller's to change. */
  const own = async (db: Reader, caller: AnyCaller, ids: readonly ImageId[]): Promise<ImageRow[]> => {
    const rows = await imageList(db, caller.accountId, ids);
    for (const id of ids) {
      const row = rows.find((each) => each.id === id);
      if (row === undefined && (await imageFind({ store, folder }, caller.accountId, id)) !== undefined) {
        throw failure("ImagePublic", `image ${id} is everybody's, and built here: it cannot be changed`);
      }
      if (row === undefined) throw failure("ImageNotFound", `there is no image ${id}`);
      if (row.accountId === null && caller.accountId !== "any") {
        throw failure("ImagePublic", `image ${id} is everybody's: only an operator changes it`);
      }
    }
    return rows;
  };
  /** The row of an import whose file the client sends. */
  const awaited = async (caller: AnyCaller, id: ImageId): Promise<{ upload: number }> => {
    const [row] = await store.read((db) => own(db, caller, [id]));
    const from = row?.request.from;
    if (row === undefined || row.step !== "receive" || from === undefined || !("upload" in from)) {
      throw failure("ImageNotReceiving", `image ${id} awaits no file`, { detail: { state: row?.state } });
    }
    return from;
  };
  const get = async (caller: AnyCaller, id: ImageId): Promise<ImageView> => {
    const found = await imageFind({ store, folder }, caller.accountId, id);
    if (found === undefined) throw failure("ImageNotFound", `there is no image ${id}`);
    return found;
  };

  /** An upload that was begun before, if this is the same. One that is another under the same name is refused as such. */
  const findAwaited = async (
    caller: Caller,
    wish: Pick<ImageRow, "accountId" | "name" | "description" | "request">,
  ): Promise<ImageId | undefined> => {
    const rows = await store.read((db) => imageList(db, caller.accountId));
    const row = rows.find((each) => each.accountId === wish.accountId && each.name === wish.name);
    if (row === undefined || row.step !== "receive" || !("upload" in row.request.from)) return undefined;
    if (row.description === wish.description && isDeepStrictEqual(row.request, wish.request)) return row.id;
    const why = `the image ${wish.name} awaits another file, or the same declared otherwise: ${row.request.from.upload} bytes`;
    throw failure("ImageNameTaken", `${why}, ${row.request.format}, ${row.request.bootMode}`);
  };

  /** One transaction that begins an image; a dry run goes all the way and takes it back. */
  const begun = async (
    name: string,
    dryRun: boolean,
    body: (tx: Tx) => Promise<ImageId>,
  ): Promise<ImageId | undefined> => {
    const dry = new Error("a dry run makes nothing");
    try {
      const once = async (tx: Tx): Promise<ImageId> => {
        const id = await body(tx);
        if (dryRun) throw dry;
        return id;
      };
      return await named(() => store.transaction(once), name);
    } catch (error) {
      if (error === dry) return undefined;
      throw error;
    } finally {
      imports.nudge();
    }
  };

  return {
    get,
    async list(caller, query, page) {
      const rows = await store.read((db) => imageList(db, caller.accountId, query.ids));
      const built = (await publicOf(folder, store)).filter(
        ({ id }) => query.ids === undefined || query.ids.includes(id),
      );
      const brought = await Promise.all(rows.map((row) => rowView(folder, row)));
      const found = [...built.map(builtView), ...brought].filter(
        ({ name }) => query.name === undefined || query.name === name,
      );
      return { total: found.length, items: found.slice(page.offset, page.offset + page.limit) };
    },

    async import(caller, request) {
      const { from, name, description, isPublic, dryRun, ...asked } = request;
      if (asked.machine.secureBoot && asked.bootMode !== "uefi") {
        throw invalid("secureBoot", "secure boot is UEFI's: choose that boot mode");
      }
      if ("url" in from) checkUrlHere(from.url);
      else if (from.upload > config.imports.maxSourceGiB * gib) {
        throw invalid("bytes", `a file may have ${config.imports.maxSourceGiB} GiB at most`);
      }
      const id = newId("image");
      const accountId = isPublic ? null : caller.accountId;
      const step = "url" in from ? "fetch" : "receive";
      const deadline = new Date(Date.now() + ("url" in from ? minutes : uploadMs));
      const row = { id, accountId, name, description, state: "IMPORTING", source: "EXTERNAL_IMPORT", step } as const;
      const cutOff = dryRun
        ? undefined
        : await findAwaited(caller, { accountId, name, description, request: { ...asked, from } });
      if (cutOff !== undefined) return get(caller, cutOff);
      const made = await begun(name, dryRun, async (tx) => {
        await quotaTake(tx, caller.accountId, { images: 1 });
        await imageInsert(tx, { ...row, request: { ...asked, from }, deadline });
        return id;
      });
      return made && get(caller, made);
    },

    async create(caller, request) {
      const { name, dryRun } = request;
      const made = await begun(name, dryRun, (tx) => imageCreate(tx, { folder, config }, caller, request));
      return made && get(caller, made);
    },

    async receive(caller, id, offset, content) {
      const from = await awaited(caller, id);
      const extend = new Date(Date.now() + uploadMs);
      await imageStep(store, id, "receive", "receive", extend);
      try {
        const received = await receiver.take(id, offset, from.upload, content);
        if (received === from.upload) {
          await imageStep(store, id, "receive", "convert", new Date(Date.now() + minutes));
          imports.nudge();
        }
        return { received };
      } finally {
        const received = await receivedOf(folder.directory, id);
        await imageProgress(store, id, "receive", importProgress("receive", received / Math.max(1, from.upload)));
      }
    },

    async digest(caller, id, part) {
      await awaited(caller, id);
      return receivedDigest(folder.directory, id, part);
    },

    async modify(caller, id, change) {
      await named(
        () =>
          store.transaction(async (tx) => {
            await own(tx.db, caller, [id]);
            await imageModify(tx, id, change);
          }),
        change.name,
      );
      return get(caller, id);
    },

    async delete(caller, ids, { dryRun }) {
      await store.transaction(async (tx) => {
        await own(tx.db, caller, ids);
        if (!dryRun) await imageDelete(tx, ids);
      });
      imports.nudge();
    },

    async quota({ accountId }) {
      const [limits, used] = await store.read(async (db) =>
        Promise.all([quotaLimits(db, accountId), quotaUsed(db, accountId, ["images"])]),
      );
      return { limit: limits?.images ?? 0, used: used.images ?? 0 };
    },
  };
}

/** One image as this account sees it. */
export async function imageFind(
  { store, folder }: Pick<AppContext, "store" | "folder">,
  accountId: AccountId | "any",
  id: ImageId,
): Promise<ImageView | undefined> {
  const [row] = await store.read((db) => imageList(db, accountId, [id]));
  if (row !== undefined) return rowView(folder, row);
  const built = await folder.find(id);
  if (built === undefined || built.manifest.private === true) return undefined;
  // A public import that was deleted: its files stay for those who use it.
  const known = await store.read((db) => imagesKnown(db, [id]));
  return known.has(id) ? undefined : builtView(built);
}

async function publicOf(folder: ImageFolder, store: AppContext["store"]): Promise<FolderImage[]> {
  const all = (await folder.all()).filter(({ manifest }) => manifest.private !== true);
  const known = await store.read((db) =>
    imagesKnown(
      db,
      all.map(({ id }) => id),
    ),
  );
  return all.filter(({ id }) => !known.has(id));
}

function builtView({ id, manifest, createdAt }: FolderImage): ImageView {
  return {
    id,
    accountId: null,
    name: manifest.name,
    description: "",
    state: "NORMAL",
    source: "OFFICIAL",
    progress: 100,
    step: null,
    failure: null,
    received: null,
    osName: manifest.osName,
    platform: manifest.platform,
    boot: bootOf(manifest),
    machine: machineOf(manifest),
    minMemoryMiB: manifest.minMemoryMiB,
    manifest,
    sizeBytes: 0,
    createdAt,
  };
}

async function rowView(folder: ImageFolder, row: ImageRow): Promise<ImageView> {
  const { request, manifest, ...shown } = row;
  return {
    id: shown.id,
    accountId: shown.accountId,
    name: shown.name,
    description: shown.description,
    state: shown.state,
    source: shown.source,
    progress: shown.progress,
    step: shown.step,
    failure: shown.failure,
    received: shown.step === "receive" ? await receivedOf(folder.directory, shown.id) : null,
    osName: request.osName,
    platform: request.platform,
    boot: manifest === null ? request.bootMode : bootOf(manifest),
    machine: manifest === null ? (request.machine ?? plainMachine) : machineOf(manifest),
    minMemoryMiB: request.minMemoryMiB,
    manifest,
    sizeBytes: shown.sizeBytes,
    createdAt: shown.createdAt,
  };
}

function bootOf({ boot }: ImageManifest): ImageView["boot"] {
  return boot.kind === "direct" ? "direct" : boot.firmware;
}

function machineOf({ boot, machine }: ImageManifest): GuestMachine {
  const secureBoot = boot.kind === "disk" && boot.firmware === "uefi" && boot.secureBoot;
  return { ...plainMachine, ...machine, secureBoot };
}

function checkUrlHere(url: string): void {
  try {
    checkUrl(url);
  } catch (error) {
    if (error instanceof ImportRefusal) throw invalid("url", error.message);
    throw error;
  }
}

function invalid(parameter: string, message: string): Error {
  return failure("InvalidParameter", message, { detail: { parameter } });
}
