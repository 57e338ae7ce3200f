/**
 * Binds key pairs to instances and takes them off again. The guest learns of it from its seed, which its host writes at each start:
 * so an instance must be stopped, or is stopped and started again by the same call.
 */
import { failure } from "../../core/failure-codes.ts";
import type { InstanceId, KeyId } from "../../lib/ids.ts";
import type { Caller, Keys } from "../cloud.ts";
import { violatedConstraint, type Store, type Tx } from "../store/database.ts";
import { instanceKeysAdd, instanceKeysRemove, publicKeysRefresh } from "../store/instance-keys.ts";
import { instanceModifyRows } from "../store/instance-modify.ts";
import { keyList } from "../store/keys.ts";
import { checkAtRest, lockAll, restart } from "./instance-power.ts";

/** As many as an instance can be made with. */
const mostKeys = 16;

export function instanceKeys(store: Store): Pick<Keys, "bind" | "unbind"> {
  const change = async (
    caller: Caller,
    ids: readonly InstanceId[],
    keys: readonly KeyId[],
    force: boolean,
    write: (tx: Tx) => Promise<void>,
  ): Promise<void> => {
    try {
      await store.transaction(async (tx) => {
        const locked = await lockAll(tx, caller, ids);
        const { items } = await keyList(tx.db, caller.accountId, { ids: keys }, null);
        if (items.length < new Set(keys).size) throw keyNotFound();
        const running = checkAtRest(locked, force);
        await write(tx);
        if ((await publicKeysRefresh(tx, ids)) > mostKeys) {
          throw failure("InvalidParameter", `an instance can have ${mostKeys} key pairs`, {
            detail: { parameter: "keyIds" },
          });
        }
        const rows = locked.map(({ row }) => row);
        await instanceModifyRows(tx, rows, {}, true);
        await restart(tx, caller, running);
      });
    } catch (error) {
      if (violatedConstraint(error) === "instance_key_key_id_fkey") throw keyNotFound();
      throw error;
    }
  };
  return {
    bind: (caller, ids, keys, force) => change(caller, ids, keys, force, (tx) => instanceKeysAdd(tx, ids, keys)),
    unbind: (caller, ids, keys, force) => change(caller, ids, keys, force, (tx) => instanceKeysRemove(tx, ids, keys)),
  };
}

function keyNotFound(): Error {
  return failure("KeyNotFound", "at least one of the key pairs does not exist");
}
