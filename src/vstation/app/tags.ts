/** Tags of anything. A resource is what has an id and belongs to the account; what it is, its id says. */
import { failure } from "../../core/failure-codes.ts";
import { networkLimits } from "../../core/network-limits.ts";
import type { Tags } from "../cloud/tags.ts";
import { resourcesLock, tagChange, tagCount, tagList, tagPairs } from "../store/tags.ts";
import type { AppContext } from "./context.ts";

export function tags({ store }: AppContext): Tags {
  return {
    list: (caller, resourceIds, page) => store.read((db) => tagList(db, caller.accountId, resourceIds, page)),
    pairs: (caller, keys, page) => store.read((db) => tagPairs(db, caller.accountId, keys, page)),
    change: (caller, resourceIds, { replace, remove }) =>
      store.transaction(async (tx) => {
        const { accountId } = caller;
        const ids = [...new Set(resourceIds)].toSorted();
        const found = await resourcesLock(tx, accountId, ids);
        const missing = ids.find((id) => !found.has(id));
        if (missing !== undefined) {
          throw failure("ResourceNotFound", `there is no ${missing}`, { detail: { resourceId: missing } });
        }
        for (const resourceId of ids) {
          await tagChange(tx, { accountId, resourceId, tags: replace }, remove);
          const limit = networkLimits.tagsPerResource;
          if ((await tagCount(tx.db, accountId, resourceId)) <= limit) continue;
          throw failure("QuotaExceeded", `${resourceId} would have more than ${limit} tags`, {
            detail: { quota: "tagsPerResource", limit },
          });
        }
      }),
  };
}
