/**
 * The zone's row: who places in this zone (a lease with a fencing epoch), the counter of address changes, the folder of images.
 *
 * A lease is taken in one of two ways. Its holder keeps a session-level advisory lock: when the holder's process dies, its
 * connection ends, PostgreSQL releases the lock, and the next one takes over at once. When the holder hangs with its connection
 * open, the lease runs out instead. Either way the epoch goes up, and whatever the former holder still tries to commit is
 * refused by {@link zoneFence}: that, not any clock, is what keeps two from placing.
 */
import { sql } from "kysely";
import { failure } from "../../core/failure-codes.ts";
import { isFailure } from "../../lib/errors.ts";
import type { Store, Tx } from "./database.ts";

export async function zoneEnsure(store: Store, zone: string): Promise<void> {
  await store.read((db) => sql`insert into zone (name) values (${zone}) on conflict do nothing`.execute(db));
}

/** The id of the zone's folder of images, if there is one yet. */
export async function zoneImageFolder(store: Store, zone: string): Promise<string | undefined> {
  const row = await store.read((db) =>
    db.selectFrom("zone").select("image_folder").where("name", "=", zone).executeTakeFirst(),
  );
  return row?.image_folder ?? undefined;
}

/** Makes this folder the zone's unless it has one; returns the one that it has. */
export async function zoneImageFolderEnsure(store: Store, zone: string, folder: string): Promise<string | undefined> {
  const { rows } = await store.read((db) =>
    sql<{ image_folder: string }>`
      update zone set image_folder = coalesce(image_folder, ${folder}) where name = ${zone} returning image_folder`.execute(
      db,
    ),
  );
  return rows[0]?.image_folder;
}

/**
 * Takes the lease if it is free, run out, or its holder is known to be dead (`holderDead`). Returns the new epoch, or undefined.
 */
export async function leaseTake(
  store: Store,
  zone: string,
  { holder, address, holderDead, ttlMs }: { holder: string; address: string; holderDead: boolean; ttlMs: number },
): Promise<number | undefined> {
  const { rows } = await store.read((db) =>
    sql<{ lease_epoch: number }>`
      update zone set lease_holder = ${holder}, lease_address = ${address}, lease_epoch = lease_epoch + 1,
        lease_expires_at = clock_timestamp() + make_interval(secs => ${ttlMs / 1000})
      where name = ${zone} and (lease_holder is null or ${holderDead} or lease_expires_at < clock_timestamp())
      returning lease_epoch`.execute(db),
  );
  return rows[0]?.lease_epoch;
}

/** Where the holder of a lease that has not run out is reached by other replicas. */
export async function leaseAddress(store: Store, zone: string): Promise<string | undefined> {
  const { rows } = await store.read((db) =>
    sql<{ lease_address: string | null }>`
      select lease_address from zone
      where name = ${zone} and lease_holder is not null and lease_expires_at > clock_timestamp()`.execute(db),
  );
  return rows[0]?.lease_address ?? undefined;
}

/** Prolongs a lease that is still ours; false when somebody else has taken it. */
export async function leaseRenew(store: Store, zone: string, epoch: number, ttlMs: number): Promise<boolean> {
  const { rows } = await store.read((db) =>
    sql`
      update zone set lease_expires_at = clock_timestamp() + make_interval(secs => ${ttlMs / 1000})
      where name = ${zone} and lease_epoch = ${epoch} and lease_holder is not null returning name`.execute(db),
  );
  return rows.length > 0;
}

export async function leaseRelease(store: Store, zone: string, epoch: number): Promise<void> {
  await store.read((db) =>
    sql`update zone set lease_holder = null, lease_expires_at = null
        where name = ${zone} and lease_epoch = ${epoch}`.execute(db),
  );
}

/** Locks the zone's row, checks that the lease is still of this epoch, and takes the next generation of addresses. */
export async function zoneFence(tx: Tx, zone: string, epoch: number): Promise<number> {
  const { rows } = await sql<{ peer_generation: number }>`
    update zone set peer_generation = peer_generation + 1
    where name = ${zone} and lease_epoch = ${epoch} and lease_holder is not null
    returning peer_generation`.execute(tx.db);
  const row = rows[0];
  if (row === undefined) {
    throw failure("PlacementUnavailable", "another VStation places in this zone now; ask again", { detail: { epoch } });
  }
  tx.wake.peers = true;
  return row.peer_generation;
}

/** The commit was refused because the lease is somebody else's by now. */
export function isFenced(error: unknown): boolean {
  return isFailure(error) && error.code === "PlacementUnavailable" && "epoch" in error.detail;
}
