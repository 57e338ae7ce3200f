/** Elastic addresses: an account's own addresses towards the outside, bound to one instance after another. */
import { failure } from "../../../core/failure-codes.ts";
import { newId, type ElasticAddressId, type InstanceId } from "../../../lib/ids.ts";
import type { AnyCaller } from "../../cloud.ts";
import type { ElasticAddresses } from "../../cloud/network.ts";
import { clientTokenFind, requestHash } from "../../store/client-tokens.ts";
import { insertMany, violatedConstraint, type Tx } from "../../store/database.ts";
import {
  elasticAddressBind,
  elasticAddressDelete,
  elasticAddressInsert,
  elasticAddressList,
  elasticAddressLock,
  elasticAddressRename,
  elasticAddressSetBandwidth,
  type LockedElasticAddress,
} from "../../store/elastic-addresses.ts";
import { instanceModifyRows } from "../../store/instance-modify.ts";
import { quotaTake } from "../../store/quotas.ts";
import type { AppContext } from "../context.ts";
import { onViolation } from "./failures.ts";
import { lockForNetwork } from "./instance-groups.ts";

const action = "AllocateAddresses";

export function elasticAddresses({ store, config }: AppContext): ElasticAddresses {
  const pool = config.elastic?.cidr ?? null;
  return {
    async allocate(caller, { clientToken, ...request }) {
      const { accountId } = caller;
      const { count, name, bandwidthMbps, tags } = request;
      const hash = requestHash(request);
      const made = (): Promise<ElasticAddressId[]> =>
        store.transaction(async (tx) => {
          if (clientToken !== null) {
            const answer = await clientTokenFind(tx.db, accountId, action, clientToken, hash);
            if (answer !== undefined) return (answer as { ids: ElasticAddressId[] }).ids;
          }
          await quotaTake(tx, accountId, { elasticAddresses: count });
          const ids = Array.from({ length: count }, () => newId("elasticAddress"));
          await elasticAddressInsert(
            tx,
            pool,
            ids.map((id) => ({ id, accountId, name, kind: "eip", instanceId: null, bandwidthMbps, tags })),
          );
          if (clientToken !== null) {
            const token = { account_id: accountId, action, token: clientToken, request_hash: hash, answer: { ids } };
            await insertMany(tx, "client_token", [{ ...token, created_at: new Date().toISOString() }]);
          }
          return ids;
        });
      return made().catch((error: unknown) => {
        // Two with one token at once: the second finds the first one's answer.
        if (violatedConstraint(error) === "client_token_pkey") return made();
        throw error;
      });
    },
    list: (caller, query, page) => store.read((db) => elasticAddressList(db, caller.accountId, query, page)),
    modify: (caller, id, { name }) =>
      store.transaction(async (tx) => {
        await elasticAddressLock(tx, caller.accountId, [id]);
        if (name !== undefined) await elasticAddressRename(tx, id, name);
      }),
    setBandwidth: (caller, of, mbps) =>
      store.transaction(async (tx) => {
        if ("ids" in of) {
          await elasticAddressLock(tx, caller.accountId, of.ids);
          return elasticAddressSetBandwidth(tx, of.ids, mbps);
        }
        const locked = await lockForNetwork(tx, caller, of.instanceIds);
        const query = { instanceIds: of.instanceIds };
        const { items } = await elasticAddressList(tx.db, caller.accountId, query, null);
        const without = of.instanceIds.find((id) => !items.some((address) => address.instanceId === id));
        if (without !== undefined) {
          throw failure("ElasticAddressUnbound", `instance ${without} has no address towards the outside`);
        }
        await elasticAddressSetBandwidth(
          tx,
          items.map(({ id }) => id),
          mbps,
        );
        for (const { row } of locked) tx.wake.event("instance", row.id);
      }),
    associate: (caller, id, instanceId) =>
      onViolation(
        () =>
          store.transaction(async (tx) => {
            const [instance] = await lockForNetwork(tx, caller, [instanceId]);
            const address = await lockOne(tx, caller, id);
            if (instance === undefined) return;
            // To an operator everybody's are there, but what belongs to two accounts is never bound together.
            if (instance.row.account_id !== address.accountId) throw noInstance(instanceId);
            if (address.instanceId === instanceId) return;
            if (address.instanceId !== null) throw bound(id, address.instanceId);
            await elasticAddressBind(tx, id, instanceId);
            await instanceModifyRows(tx, [instance.row], {}, true);
          }),
        () =>
          failure("InstanceHasElasticAddress", `instance ${instanceId} has an address towards the outside`, {
            detail: { instanceId },
          }),
      ),
    async disassociate(caller, id) {
      const { items } = await store.read((db) => elasticAddressList(db, caller.accountId, { ids: [id] }, null));
      const holder = items[0]?.instanceId;
      await store.transaction(async (tx) => {
        // In the order of all locks: the instance first, so what was read without a lock is checked again.
        const [instance] = holder === undefined || holder === null ? [] : await lockForNetwork(tx, caller, [holder]);
        const address = await lockOne(tx, caller, id);
        if (instance === undefined || address.instanceId !== instance.row.id) {
          throw failure("ElasticAddressUnbound", `elastic address ${id} is bound to nothing`);
        }
        if (address.kind === "wan") throw comesWith(id, instance.row.id);
        await elasticAddressBind(tx, id, null);
        await instanceModifyRows(tx, [instance.row], {}, true);
      });
    },
    release: (caller, ids) =>
      store.transaction(async (tx) => {
        for (const { id, kind, instanceId } of await elasticAddressLock(tx, caller.accountId, ids)) {
          if (instanceId === null) continue;
          throw kind === "wan" ? comesWith(id, instanceId) : bound(id, instanceId);
        }
        await elasticAddressDelete(tx, ids);
      }),
  };
}

async function lockOne(tx: Tx, caller: AnyCaller, id: ElasticAddressId): Promise<LockedElasticAddress> {
  const [address] = await elasticAddressLock(tx, caller.accountId, [id]);
  if (address === undefined) throw new Error(`no lock on elastic address ${id}`);
  return address;
}

function bound(id: ElasticAddressId, instanceId: InstanceId): Error {
  return failure("ElasticAddressBound", `elastic address ${id} is bound to instance ${instanceId}`);
}

function comesWith(id: ElasticAddressId, instanceId: InstanceId): Error {
  return failure("ElasticAddressBound", `address ${id} came with instance ${instanceId} and goes with it`);
}

function noInstance(id: InstanceId): Error {
  return failure("InstanceNotFound", `there is no instance ${id}`, { detail: { instanceId: id } });
}
