/**
 * Images as rows. Who writes what: a tenant's request makes, renames and deletes a row; the importer alone (vstation/images), under
 * the zone's lease, moves one that is under way and ends it. Each of its writes names the step that it comes from, so one that was
 * overtaken (by a deletion, by another importer after a lost lease) changes nothing and says so.
 */
import { sql, type RawBuilder } from "kysely";
import type { JobState } from "../../api/agent-storage.ts";
import type { ImageManifest } from "../../core/image-manifest.ts";
import type { ImageSource, ImageState, ImportStep } from "../../core/image.ts";
import type { Failed } from "../../core/wanted.ts";
import type { AccountId, HostId, ImageId, JobId } from "../../lib/ids.ts";
import type { Reader, Store, Tx } from "./database.ts";
import { toJson } from "./json.ts";
import type { ImageRequest } from "./schema.ts";

export interface ImageRow {
  id: ImageId;
  /** null: for every account. */
  accountId: AccountId | null;
  name: string;
  description: string;
  state: ImageState;
  source: ImageSource;
  step: ImportStep | null;
  progress: number;
  failure: Failed | null;
  request: ImageRequest;
  manifest: ImageManifest | null;
  sizeBytes: number;
  createdAt: Date;
  deadline: Date | null;
}

const columns = sql`id, account_id as "accountId", name, description, state, source, step, progress, failure, request, manifest,
  size_bytes as "sizeBytes", created_at as "createdAt", deadline`;

/** Those that an account sees, its own and everybody's, or all ("any"); oldest first. */
export async function imageList(
  db: Reader,
  accountId: AccountId | "any",
  ids?: readonly ImageId[],
): Promise<ImageRow[]> {
  const conditions: RawBuilder<unknown>[] = [sql`deleted_at is null`];
  if (accountId !== "any") conditions.push(sql`(account_id = ${accountId} or account_id is null)`);
  if (ids !== undefined) conditions.push(sql`id = any(${[...ids]})`);
  const where = sql.join(conditions, sql` and `);
  const { rows } = await sql<ImageRow>`select ${columns} from image where ${where} order by created_at, id`.execute(db);
  return rows;
}

export async function imageInsert(
  tx: Tx,
  image: Pick<ImageRow, "id" | "accountId" | "name" | "description" | "state" | "source" | "step" | "request"> & {
    deadline: Date;
  },
): Promise<void> {
  await tx.db
    .insertInto("image")
    .values({
      id: image.id,
      account_id: image.accountId,
      name: image.name,
      description: image.description,
      state: image.state,
      source: image.source,
      step: image.step,
      request: toJson(image.request) as unknown as ImageRequest,
      deadline: image.deadline,
    })
    .execute();
}

/** Throws a unique violation (image_name_once) when the name is taken. */
export async function imageModify(
  tx: Tx,
  id: ImageId,
  change: { name?: string | undefined; description?: string | undefined },
): Promise<void> {
  const set = {
    ...(change.name === undefined ? {} : { name: change.name }),
    ...(change.description === undefined ? {} : { description: change.description }),
  };
  if (Object.keys(set).length === 0) return;
  await tx.db.updateTable("image").set(set).where("id", "=", id).where("deleted_at", "is", null).execute();
}

export async function imageDelete(tx: Tx, ids: readonly ImageId[]): Promise<void> {
  await sql`update image set deleted_at = now() where id = any(${[...ids]}) and deleted_at is null`.execute(tx.db);
}

/* ---------------------------------------------------------------- the importer's */

/** Where something is to be done now: all that is under way but uploads that may still come. Oldest first. */
export async function imagesDue(db: Reader): Promise<ImageRow[]> {
  const { rows } = await sql<ImageRow>`
    select ${columns} from image
    where step is not null and deleted_at is null and (step <> 'receive' or deadline < now())
    order by created_at, id limit 500`.execute(db);
  return rows;
}

/** Of these, those that are under way. */
export async function imagesOpen(db: Reader, ids: readonly ImageId[]): Promise<Set<ImageId>> {
  const { rows } = await sql<{ id: ImageId }>`
    select id from image where id = any(${[...ids]}) and step is not null and deleted_at is null`.execute(db);
  return new Set(rows.map(({ id }) => id));
}

/** False when it is not at that step (any more): then the work is to be given up. */
export async function imageProgress(store: Store, id: ImageId, step: ImportStep, progress: number): Promise<boolean> {
  const { numAffectedRows } = await store.read((db) =>
    sql`update image set progress = ${progress} where id = ${id} and step = ${step} and deleted_at is null`.execute(db),
  );
  return numAffectedRows === 1n;
}

export async function imageStep(
  store: Store,
  id: ImageId,
  from: ImportStep,
  to: ImportStep,
  deadline: Date,
): Promise<boolean> {
  const { numAffectedRows } = await store.read((db) =>
    sql`update image set step = ${to}, deadline = ${deadline}
      where id = ${id} and step = ${from} and deleted_at is null`.execute(db),
  );
  return numAffectedRows === 1n;
}

/** Whatever the step: an end is an end. */
export async function imageEnd(
  store: Store,
  id: ImageId,
  end: { manifest: ImageManifest; sizeBytes: number } | { failure: Failed },
): Promise<boolean> {
  const set =
    "manifest" in end
      ? sql`state = 'NORMAL', step = null, deadline = null, progress = 100, manifest = ${toJson(end.manifest)}::jsonb,
          size_bytes = ${end.sizeBytes}`
      : sql`state = case state when 'CREATING' then 'CREATEFAILED' else 'IMPORTFAILED' end, step = null, deadline = null,
          failure = ${toJson(end.failure)}::jsonb`;
  const { numAffectedRows } = await store.read((db) =>
    sql`update image set ${set} where id = ${id} and step is not null and deleted_at is null`.execute(db),
  );
  return numAffectedRows === 1n;
}

/** Ids whose files may go: deleted a while ago (what was accepted just before may still be on its way), and used by no instance. */
export async function imagesUnused(db: Reader, graceSeconds: number): Promise<ImageId[]> {
  const { rows } = await sql<{ id: ImageId }>`
    select id from image i where deleted_at < now() - make_interval(secs => ${graceSeconds}) and swept_at is null
      and not exists (select from instance where image_id = i.id and deleted_at is null)
    order by deleted_at limit 100`.execute(db);
  return rows.map(({ id }) => id);
}

export async function imageSwept(store: Store, id: ImageId): Promise<void> {
  await store.read((db) => sql`update image set swept_at = now() where id = ${id}`.execute(db));
}

/** Ids of any row, deleted ones too, among these. */
export async function imagesKnown(db: Reader, ids: readonly ImageId[]): Promise<Set<ImageId>> {
  const { rows } = await sql<{ id: ImageId }>`select id from image where id = any(${[...ids]})`.execute(db);
  return new Set(rows.map(({ id }) => id));
}

/** The image that this host was ordered to make, and where it is; undefined when there is no such order (any more). */
export async function imageOfJob(
  db: Reader,
  hostId: HostId,
  id: ImageId,
): Promise<{ step: ImportStep | null } | undefined> {
  const { rows } = await sql<{ step: ImportStep | null }>`
    select i.step from image i join host_job j on j.subject = i.id
    where i.id = ${id} and i.deleted_at is null and j.host_id = ${hostId} and j.ended_at is null
      and j.spec ->> 'kind' = 'image.create'`.execute(db);
  return rows[0];
}

export interface ImageCopy {
  jobId: JobId;
  imageId: ImageId;
  /** null: the image is deleted, or has ended. */
  step: ImportStep | null;
  seen: JobState | null;
}

/** Copies that hosts make, or that are still to be ended. */
export async function imageCopies(db: Reader): Promise<ImageCopy[]> {
  const { rows } = await sql<ImageCopy>`
    select j.id as "jobId", j.subject as "imageId", j.seen,
      (select i.step from image i where i.id = j.subject and i.deleted_at is null) as step
    from host_job j where j.ended_at is null and j.spec ->> 'kind' = 'image.create'`.execute(db);
  return rows;
}
