/** The use cases, as both edges call them. */
import { createHash, timingSafeEqual } from "node:crypto";
import { failure } from "../../core/failure-codes.ts";
import { instanceTypes } from "../../core/instance-types.ts";
import type { Cloud } from "../cloud.ts";
import { accessKeyFind } from "../store/access-keys.ts";
import { auditList } from "../store/audit.ts";
import { quotaLimits, quotaUsed } from "../store/quotas.ts";
import { accounts } from "./accounts.ts";
import type { AppContext } from "./context.ts";
import { disks } from "./disks.ts";
import { groups } from "./groups.ts";
import { hosts } from "./hosts.ts";
import { images } from "./images.ts";
import { instances } from "./instances.ts";
import { keys } from "./keys.ts";
import { migrations } from "./migrations.ts";
import { network } from "./network/network.ts";
import { operations } from "./operations.ts";
import { tags } from "./tags.ts";
import { snapshots } from "./snapshots.ts";

/** What a system disk takes at least, for "how many would fit". */
const typicalDiskGiB = 1;

export function createCloud(context: AppContext): Cloud {
  const { config, store, placer, keyring, operatorToken } = context;
  const digest = (text: string): Buffer => createHash("sha256").update(text).digest();
  const expected = digest(operatorToken);
  return {
    instances: instances(context),
    disks: disks(context),
    snapshots: snapshots(context),
    keys: keys(context),
    groups: groups(context),
    network: network(context),
    tags: tags(context),
    images: images(context),
    hosts: hosts(context),
    migrations: migrations(context),
    operations: operations(context),
    catalogue: {
      region: config.region,
      zones: [config.zone],
      types: instanceTypes,
      room: () => placer.room(typicalDiskGiB),
    },
    events: context.events,
    accounts: accounts(context),
    quotas: ({ accountId }) =>
      store.read(async (db) => {
        const limits = await quotaLimits(db, accountId);
        if (limits === undefined) throw failure("AccountNotFound", "the account was deleted");
        return { limits, used: await quotaUsed(db, accountId) };
      }),
    audit: { list: (query, limit) => store.read((db) => auditList(db, query, limit)) },
    async accessKey(secretId) {
      const found = await store.read((db) => accessKeyFind(db, secretId));
      if (found === undefined) return undefined;
      const { sealed, accountId } = found;
      return { secretId, secretKey: await keyring.open(sealed, secretId), accountId };
    },
    operatorTokenValid: (token) => timingSafeEqual(digest(token), expected),
  };
}
