/** Hosts as operators see them. */
import { randomBytes } from "node:crypto";
import type { Inventory, Readiness } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { memoryOf } from "../../core/placement.ts";
import { unreachable, type Failure } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import { firstOf } from "../../lib/words.ts";
import { tokenHash } from "../agents/join.ts";
import type { Hosts, HostView } from "../cloud.ts";
import { hostCordon, hostNamed, hostRead, hostRemove, type HostRead } from "../store/hosts.ts";
import { joinTokenEnsure } from "../store/join-tokens.ts";
import type { AppContext } from "./context.ts";

const askMs = 30_000;

const joinSeconds = 3600;

export function hosts({ store, agents, config, caPem }: AppContext): Hosts {
  const read = (): Promise<HostRead[]> => store.read((db) => hostRead(db, { zone: config.zone }));
  return {
    async list(page) {
      const all = (await read()).filter(({ row }) => row.removed_at === null).map(hostView);
      return { total: all.length, items: all.slice(page.offset, page.offset + page.limit) };
    },
    async get(id) {
      const [found] = await store.read((db) => hostRead(db, { id }));
      if (found === undefined || found.row.removed_at !== null) throw notFound(id);
      return hostView(found);
    },
    ask: (id, ask) => agents.session(id).asks.ask(ask, askMs),

    async invite(name, again) {
      if (!again && (await store.read((db) => hostNamed(db, config.zone, name)))) {
        throw failure("NameTaken", `a host of the name ${name} has joined: remove it first, or invite it again`);
      }
      const token = randomBytes(24).toString("hex");
      await joinTokenEnsure(store, tokenHash(token), name, joinSeconds);
      const expiresAt = new Date(Date.now() + joinSeconds * 1000);
      const servers = config.agents.servers ?? config.agents.names.map((each) => `${each}:${agents.port}`);
      return { name, token, expiresAt, servers: [...servers], ca: caPem };
    },

    async cordon(id, cordoned) {
      if (!(await store.transaction((tx) => hostCordon(tx, id, cordoned)))) throw notFound(id);
    },

    async remove(id, dead) {
      const removal = await store.transaction((tx) => hostRemove(tx, id, dead));
      switch (removal.outcome) {
        case "removed":
          return { told: removal.wasConnected };
        case "unknown":
          throw notFound(id);
        case "unreachable":
          throw failure(
            "HostNotTold",
            "the host is out of reach and cannot be told; say that it is dead to remove it",
            {
              detail: { hostId: id },
            },
          );
        case "occupied": {
          const { ids } = removal;
          const message = `${ids.length} things lie on the host and nowhere else: ${firstOf(ids, 5)}; end them first`;
          throw failure("HostInUse", message, { detail: { ids } });
        }
        default:
          return unreachable(removal);
      }
    },
  };
}

function notFound(id: HostId): Failure {
  return failure("HostNotFound", `there is no host ${id}`);
}

/** Of a host that joined and never said hello. */
const nothingYet: Inventory = {
  hostname: "",
  cores: 0,
  memoryMiB: 0,
  diskGiB: 0,
  cpu: { model: "", vendor: "", sockets: 0, coresPerSocket: 0, threadsPerCore: 0, mhz: 0 },
  numa: [],
  versions: { compute: "", libvirt: "", qemu: "", kernel: "", node: "" },
};

function hostView({ row, connected, use }: HostRead): HostView {
  const { inventory, readiness, underlay_address, seen_at } = row;
  const common = {
    id: row.id,
    name: row.name,
    cordoned: row.cordoned,
    overcommit: { cpu: row.overcommit_cpu ?? 1, memory: row.overcommit_memory ?? 1 },
    used: {
      vcpus: use.vcpus + use.dedicated,
      dedicated: use.dedicated,
      memoryMiB: memoryOf(use),
      diskGiB: use.diskGiB,
      instances: use.instances,
    },
    joinedAt: row.joined_at,
  };
  if (inventory === null || readiness === null || underlay_address === null || seen_at === null) {
    const none: Readiness = { accelerator: "tcg", checks: [] };
    return {
      ...common,
      state: "joining",
      underlayAddress: "",
      inventory: nothingYet,
      readiness: none,
      seenAt: row.joined_at,
    };
  }
  const broken = readiness.checks.some(({ level }) => level === "error");
  return {
    ...common,
    state: !connected ? "unreachable" : broken ? "degraded" : "ready",
    underlayAddress: underlay_address,
    inventory,
    readiness,
    seenAt: seen_at,
  };
}
