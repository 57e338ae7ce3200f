/** Key pairs. A private key is made here only to be handed out once; it is neither stored nor logged. */
import { failure } from "../../core/failure-codes.ts";
import { newId } from "../../lib/ids.ts";
import type { Caller, Keys } from "../cloud.ts";
import { violatedConstraint } from "../store/database.ts";
import { keyUpdate, keyDelete, keyInsert, keyList, type KeyRead } from "../store/keys.ts";
import { quotaTake } from "../store/quotas.ts";
import type { AppContext } from "./context.ts";
import { instanceKeys } from "./instance-keys.ts";
import { makeKeyPair, readPublicKey } from "./ssh-key.ts";

export function keys({ store }: AppContext): Keys {
  const insert = async (caller: Caller, name: string, publicKey: string): Promise<KeyRead> => {
    try {
      return await store.transaction(async (tx) => {
        await quotaTake(tx, caller.accountId, { keys: 1 });
        return keyInsert(tx, { id: newId("key"), accountId: caller.accountId, name, publicKey });
      });
    } catch (error) {
      if (violatedConstraint(error) !== "key_pair_account_id_name_key") throw error;
      throw failure("NameTaken", `there is a key pair named ${name} already`, { cause: error });
    }
  };
  return {
    async create(caller, name) {
      const { publicKey, privateKey } = await makeKeyPair();
      return { key: await insert(caller, name, publicKey), privateKey };
    },
    import: async (caller, name, publicKey) => insert(caller, name, readPublicKey(publicKey)),
    list: (caller, query, page) => store.read((db) => keyList(db, caller.accountId, query, page)),
    ...instanceKeys(store),
    async modify(caller, id, change) {
      try {
        const known = await store.read((db) => keyUpdate(db, caller.accountId, id, change));
        if (!known) throw failure("KeyNotFound", `there is no key pair ${id}`);
      } catch (error) {
        if (violatedConstraint(error) !== "key_pair_account_id_name_key") throw error;
        throw failure("NameTaken", `there is a key pair named ${change.name ?? ""} already`, { cause: error });
      }
    },
    async delete(caller, ids) {
      try {
        await store.transaction(async (tx) => {
          const { items } = await keyList(tx.db, caller.accountId, { ids }, null);
          if (items.length < new Set(ids).size)
            throw failure("KeyNotFound", "at least one of the key pairs does not exist");
          const instanceIds = items.flatMap((key) => key.instanceIds);
          if (instanceIds.length > 0) throw inUse(instanceIds);
          await keyDelete(tx, caller.accountId, ids);
        });
      } catch (error) {
        if (violatedConstraint(error) !== "instance_key_key_id_fkey") throw error;
        throw inUse([]);
      }
    },
  };
}

function inUse(instanceIds: readonly string[]): Error {
  return failure("KeyInUse", "an instance uses one of the key pairs", { detail: { instanceIds } });
}
