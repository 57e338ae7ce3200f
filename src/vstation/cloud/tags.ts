/** Tags of whatever an account has; see cloud.ts for what is common to all use cases. */
import type { Caller, Listed, Page } from "../cloud.ts";

export interface TagOf {
  resourceId: string;
  key: string;
  value: string;
}

export interface Tags {
  /** Tags of these resources; those of another account, and what is not there, have none. */
  list(caller: Caller, resourceIds: string[], page: Page): Promise<Listed<TagOf>>;
  /** Every pair of key and value that the account uses, once. */
  pairs(caller: Caller, keys: string[] | null, page: Page): Promise<Listed<{ key: string; value: string }>>;
  /** Binds tags, new or with another value, and takes others away: all or nothing over the resources. */
  change(
    caller: Caller,
    resourceIds: string[],
    change: { replace: Record<string, string>; remove: string[] },
  ): Promise<void>;
}
