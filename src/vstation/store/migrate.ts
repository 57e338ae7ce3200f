/**
 * Brings the schema up to date at the start of each process, forward only, under an advisory lock: replicas that start together
 * wait for the first one. Every migration is safe beside the previous release (add, fill, then use; remove one release later).
 */
import { Migrator, type Migration } from "kysely/migration";
import { wrap } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import type { Store } from "./database.ts";
import * as first from "./migrations/0001-first.ts";
import * as images from "./migrations/0002-images.ts";
import * as disks from "./migrations/0003-disks.ts";
import * as network from "./migrations/0004-network.ts";
import * as machine from "./migrations/0005-machine.ts";
import * as hosts from "./migrations/0006-hosts.ts";
import * as tenants from "./migrations/0007-tenants.ts";
import * as login from "./migrations/0007b-login.ts";
import * as imageFolder from "./migrations/0008-image-folder.ts";
import * as renumber from "./migrations/0009-renumber.ts";
import * as leaseAddress from "./migrations/0010-lease-address.ts";
import * as guestMigration from "./migrations/0011-guest-migration.ts";
import * as migrationPolicy from "./migrations/0012-migration-policy.ts";
import * as migrationRequest from "./migrations/0013-migration-request.ts";
import * as migrationFetching from "./migrations/0014-migration-fetching.ts";
import * as migrationRefused from "./migrations/0015-migration-refused.ts";
import * as drainPolicy from "./migrations/0016-drain-policy.ts";

/**
 * By their names; a released one is never edited. Kysely takes the advisory lock and keeps the list of those that ran. One may come
 * after others with higher numbers (they were made side by side), so none leans on another but the first.
 */
export const migrations: Record<string, Migration> = {
  "0001-first": first,
  "0002-images": images,
  "0003-disks": disks,
  "0004-network": network,
  "0005-machine": machine,
  "0006-hosts": hosts,
  "0007-tenants": tenants,
  "0007b-login": login,
  "0008-image-folder": imageFolder,
  "0009-renumber": renumber,
  "0010-lease-address": leaseAddress,
  "0011-guest-migration": guestMigration,
  "0012-migration-policy": migrationPolicy,
  "0013-migration-request": migrationRequest,
  "0014-migration-fetching": migrationFetching,
  "0015-migration-refused": migrationRefused,
  "0016-drain-policy": drainPolicy,
};

export async function migrate(store: Store, log: Log): Promise<void> {
  const migrator = new Migrator({
    db: store.db,
    provider: { getMigrations: () => Promise.resolve(migrations) },
    allowUnorderedMigrations: true,
  });
  const { error, results } = await migrator.migrateToLatest();
  for (const { migrationName, status } of results ?? [])
    log.info({ migration: migrationName, status }, "schema migration");
  if (error !== undefined) throw wrap("migrating the database schema", error);
}
