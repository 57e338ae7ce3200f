/** RunInstances: checks, then one commit that accepts and places; see docs/decisions/0001. */
import { randomUUID } from "node:crypto";
import { macOfInstance } from "../../core/addresses.ts";
import { operationLimit } from "../../core/deadlines.ts";
import type { Login } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { instanceType, type InstanceType } from "../../core/instance-types.ts";
import type { Promised } from "../../core/machine.ts";
import { exceeded, exceededText, type Limits } from "../../core/quotas.ts";
import { isHostname, nameAt } from "../../core/names.ts";
import { roomOf } from "../../core/placement.ts";
import { newId, type InstanceId, type KeyId, type OperationId } from "../../lib/ids.ts";
import type { Caller, GroupView, InstanceRunRequest, Instances } from "../cloud.ts";
import type { ImageView } from "../cloud/images.ts";
import { clientTokenFind, clientTokenMismatch, requestHash } from "../store/client-tokens.ts";
import { violatedConstraint, type Reader } from "../store/database.ts";
import { groupList } from "../store/groups.ts";
import { quotaLimits, quotaUsed } from "../store/quotas.ts";
import type { NewInstance } from "../store/instance-insert.ts";
import { keyList, type KeyRead } from "../store/keys.ts";
import type { Placed } from "../placement/place-request.ts";
import type { AppContext } from "./context.ts";
import { loginOf } from "./instance-password.ts";
import { networkOf, throwNetworkGone, type InstanceNetwork } from "./instance-network.ts";
import { disksOfRun, localDataGiB, localSystemGiB } from "./instance-run-disks.ts";
import { imageFind } from "./images.ts";

interface Answer {
  instanceIds: InstanceId[];
  operationIds: OperationId[];
}

const action = "RunInstances";
const smallestDiskGiB = 1;

export function instanceRun(context: AppContext): Instances["run"] {
  /** Requests with a client token that are on their way in this process: a second one waits for the first one's end. */
  const inFlight = new Map<string, Promise<unknown>>();

  return async (caller, request) => {
    const token = request.clientToken;
    if (token === null || request.dryRun) return runOnce(context, caller, request);
    const key = `${caller.accountId} ${token}`;
    for (let other = inFlight.get(key); other !== undefined; other = inFlight.get(key)) {
      await other.catch(() => undefined);
    }
    const running = runOnce(context, caller, request);
    inFlight.set(key, running);
    try {
      return await running;
    } finally {
      inFlight.delete(key);
    }
  };
}

async function runOnce(context: AppContext, caller: Caller, request: InstanceRunRequest): Promise<Answer> {
  const { store, config, placer } = context;
  const { clientToken, dryRun: _dryRun, login, ...identity } = request;
  // A password leaves no trace, not even in a hash of everything, by which it could be guessed at leisure.
  const hash = requestHash(login === null ? identity : { ...identity, login: { user: login.user } });
  const earlier = (db: Reader): Promise<unknown> =>
    clientToken === null
      ? Promise.resolve(undefined)
      : clientTokenFind(db, caller.accountId, action, clientToken, hash);
  const [answered, keys, group, limits, image, network] = await Promise.all([
    store.read(earlier),
    store.read((db) => keysOf(db, caller, request.keyIds)),
    store.read((db) => groupOf(db, caller, request)),
    store.read((db) => quotaLimits(db, caller.accountId)),
    imageFind(context, caller.accountId, request.imageId),
    networkOf(context, caller, request),
  ]);
  if (answered !== undefined) return answered as Answer;
  if (limits === undefined) throw failure("AccountNotFound", "the account was deleted");
  await store.read((db) => checkDiskQuota(db, caller, request, limits));
  const checked = check(context, request, image, keys, group);
  try {
    const { instances } = await placer.place({
      accountId: caller.accountId,
      zone: config.zone,
      limits,
      count: request.count,
      minCount: request.minCount,
      room: roomOf({ ...checked, diskGiB: localSystemGiB(config, request, checked.diskGiB) }, checked.promised),
      dataDiskGiB: localDataGiB(config, request),
      group: group === null ? null : { id: group.id, affinity: group.affinity },
      subnet: network.subnet,
      addresses: request.addresses,
      dryRun: request.dryRun,
      build: (placed) => {
        const built = placed.map((one) => newInstance(context, caller, request, { ...checked, network }, one));
        const tokens =
          clientToken === null
            ? []
            : [{ accountId: caller.accountId, action, token: clientToken, hash, answer: answerOf(built) }];
        return { instances: built, clientTokens: tokens };
      },
    });
    return answerOf(instances);
  } catch (error) {
    const constraint = violatedConstraint(error);
    // Another replica, or a request that committed without our knowing it, used the token first.
    if (constraint === "client_token_pkey") {
      const answer = await store.read(earlier);
      if (answer === undefined) throw clientTokenMismatch();
      return answer as Answer;
    }
    if (constraint === "instance_key_key_id_fkey") throw keyNotFound();
    if (constraint === "instance_group_id_fkey") throw groupNotFound();
    throwNetworkGone(constraint, network);
    throw error;
  }
}

function answerOf(instances: readonly NewInstance[]): Answer {
  return {
    instanceIds: instances.map(({ row }) => row.id),
    operationIds: instances.map(({ operation }) => operation.id),
  };
}

interface Checked {
  vcpus: number;
  memoryMiB: number;
  diskGiB: number;
  promised: Promised;
  publicKeys: string[];
  login: Login | null;
}

/** Everything about the request that does not depend on where it is placed. */
function check(
  { config }: AppContext,
  request: InstanceRunRequest,
  image: ImageView | undefined,
  keys: readonly KeyRead[],
  group: Pick<GroupView, "id"> | null,
): Checked {
  if (request.zone !== config.zone) throw failure("ZoneUnknown", `there is no zone ${request.zone} here`);
  const type = instanceType(request.instanceType);
  if (type === undefined) {
    throw failure("InstanceTypeUnknown", `there is no instance type ${request.instanceType}`);
  }
  if (image === undefined) throw failure("ImageNotFound", `there is no image ${request.imageId}`);
  if (request.groupId !== null && group === null) throw groupNotFound();
  if (keys.length < new Set(request.keyIds).size) throw keyNotFound();
  if (request.minCount < 1 || request.minCount > request.count) {
    throw failure("InvalidParameter", "minCount must be between 1 and count", { detail: { parameter: "minCount" } });
  }
  if (request.hostname !== null && !isHostname(nameAt(request.hostname, request.count - 1, request.count))) {
    throw failure(
      "InvalidParameter",
      "a host name has letters, digits, inner hyphens and dots, 64 characters at most",
      {
        detail: { parameter: "hostname" },
      },
    );
  }
  const { manifest } = image;
  if (manifest === null) {
    throw failure("ImageNotUsable", `image ${image.id} is ${image.state}: no instance can start from it`, {
      detail: { state: image.state },
    });
  }
  const memoryMiB = type.memoryGiB * 1024;
  if (memoryMiB < manifest.minMemoryMiB) {
    throw failure("MemoryTooSmall", `image ${image.id} needs ${manifest.minMemoryMiB} MiB of memory`, {
      detail: { minimumMiB: manifest.minMemoryMiB },
    });
  }
  const minimumGiB = Math.max(smallestDiskGiB, manifest.disk.virtualSizeGiB);
  const diskGiB = request.systemDiskGiB ?? Math.max(minimumGiB, config.systemDiskGiB);
  if (diskGiB < minimumGiB) {
    throw failure("SystemDiskTooSmall", `image ${image.id} needs a system disk of at least ${minimumGiB} GiB`, {
      detail: { minimumGiB },
    });
  }
  const promised = promiseOf(type, request.cpuTopology);
  return {
    vcpus: type.vcpus,
    memoryMiB,
    diskGiB,
    promised,
    publicKeys: keys.map((key) => key.publicKey),
    login: loginOf(request.login),
  };
}

/** Who owns cores may leave their second threads idle; who shares them has none to leave. */
function promiseOf(type: InstanceType, topology: InstanceRunRequest["cpuTopology"]): Promised {
  if (topology === null) return type.promised;
  const wrong = (message: string): Error =>
    failure("InvalidParameter", message, { detail: { parameter: "cpuTopology" } });
  if (type.promised.cpu === "shared") throw wrong(`${type.name} shares its processors and has no topology of its own`);
  const cores = type.vcpus / 2;
  if (topology.cores !== cores) {
    throw wrong(`${type.name} has ${cores} cores of two threads: ask for ${cores} cores with one or two threads each`);
  }
  return { ...type.promised, threadsPerCore: topology.threadsPerCore };
}

/**
 * Looked at before anything is claimed: a dry run takes nothing, and one request that is refused by the commit (which takes, see
 * store/instance-insert.ts) makes all of its batch commit one by one.
 */
async function checkDiskQuota(db: Reader, caller: Caller, request: InstanceRunRequest, limits: Limits): Promise<void> {
  const { dataDisks, count } = request;
  if (dataDisks.length === 0) return;
  const sizeGiB = dataDisks.reduce((sum, disk) => sum + disk.sizeGiB, 0);
  const used = await quotaUsed(db, caller.accountId, ["disks", "diskGiB"]);
  const over = exceeded(limits, used, { disks: count * dataDisks.length, diskGiB: count * sizeGiB });
  if (over !== undefined) throw failure("QuotaExceeded", exceededText(over), { detail: { ...over } });
}

/** In the order in which they were named. */
async function keysOf(db: Reader, caller: Caller, ids: readonly KeyId[]): Promise<KeyRead[]> {
  if (ids.length === 0) return [];
  const { items } = await keyList(db, caller.accountId, { ids }, null);
  return [...new Set(ids)].flatMap((id) => items.find((key) => key.id === id) ?? []);
}

async function groupOf(db: Reader, caller: Caller, request: InstanceRunRequest) {
  if (request.groupId === null) return null;
  const { items } = await groupList(db, caller.accountId, { ids: [request.groupId] }, null);
  return items[0] ?? null;
}

function keyNotFound(): Error {
  return failure("KeyNotFound", "at least one of the key pairs does not exist");
}

function groupNotFound(): Error {
  return failure("GroupNotFound", "the disaster-recover group does not exist");
}

const unnamed = "unnamed";

function newInstance(
  { config }: AppContext,
  caller: Caller,
  request: InstanceRunRequest,
  checked: Checked & { network: InstanceNetwork },
  { id, index, hostId, ip }: Placed,
): NewInstance {
  const now = Date.now();
  const system = { id: newId("disk"), sizeGiB: checked.diskGiB };
  const row: NewInstance["row"] = {
    id,
    account_id: caller.accountId,
    uuid: randomUUID(),
    zone: config.zone,
    name: request.name === null ? unnamed : nameAt(request.name, index, request.count),
    hostname: request.hostname === null ? id : nameAt(request.hostname, index, request.count),
    instance_type: request.instanceType,
    vcpus: checked.vcpus,
    memory_mib: checked.memoryMiB,
    machine: checked.promised,
    image_id: request.imageId,
    disk_id: system.id,
    disk_gib: localSystemGiB(config, request, checked.diskGiB),
    subnet_id: checked.network.subnet.id,
    vpc_id: checked.network.subnet.vpc_id,
    ip,
    mac: macOfInstance(id),
    group_id: request.groupId,
    user_data: request.userData,
    public_keys: checked.publicKeys,
    login: checked.login,
    restart_policy: request.restartPolicy,
    termination_protection: request.terminationProtection,
    created_at: new Date(now),
    host_id: hostId,
    epoch: 1,
    incarnation: 1,
    resets: 0,
    power: "running",
    stop_how: null,
    gone_for: null,
    due_at: new Date(now + operationLimit("instance.run", null)),
  };
  return {
    row,
    disks: disksOfRun(config, request, row, system),
    keyIds: [...new Set(request.keyIds)],
    securityGroupIds: checked.network.securityGroupIds,
    publicAddress:
      request.publicAddress === null ? null : { pool: config.elastic?.cidr ?? null, ...request.publicAddress },
    tags: request.tags,
    operation: {
      id: newId("operation"),
      kind: "instance.run",
      instance_id: id,
      account_id: caller.accountId,
      request_id: caller.requestId,
      how: null,
      deadline: now + operationLimit("instance.run", null),
      failed: null,
      steps: [{ name: "accepted", note: `placed on ${hostId}` }],
    },
  };
}
