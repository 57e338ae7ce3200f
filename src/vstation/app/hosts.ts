/** Hosts as operators see them. */
import { randomBytes } from "node:crypto";
import type { Inventory, Readiness } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { mayRun } from "../../core/instance-state.ts";
import { pauseGrows } from "../../core/migration/policy.ts";
import { isNotRunning, isStuck } from "../../core/migration/retry.ts";
import { memoryOf } from "../../core/placement.ts";
import { isFailure, unreachable, type Failure } from "../../lib/errors.ts";
import type { HostId } from "../../lib/ids.ts";
import { firstOf } from "../../lib/words.ts";
import { tokenHash } from "../agents/join.ts";
import type { DrainView, Hosts, HostView } from "../cloud.ts";
import { drainFlights, drainRead, hostDrain, hostUndrain, type DrainRead } from "../store/host-drain.ts";
import { hostCordon, hostNamed, hostRead, hostRemove, type HostRead } from "../store/hosts.ts";
import { joinTokenEnsure } from "../store/join-tokens.ts";
import type { AppContext } from "./context.ts";
import { planOf } from "./instance-migrate.ts";
import { migrationCallOff } from "./migrations.ts";

const askMs = 30_000;

const joinSeconds = 3600;

export function hosts({ store, agents, config, caPem }: AppContext): Hosts {
  /** With how far the drains are of those that are drained. */
  const views = (filter: { id: HostId } | { zone: string }): Promise<HostView[]> =>
    store.snapshot(async (db) => {
      const all = (await hostRead(db, filter)).filter(({ row }) => row.removed_at === null);
      const drained = all.filter(({ row }) => row.drain_began !== null).map(({ row }) => row.id);
      const drains = await drainRead(db, drained);
      return all.map((host) => hostView(host, drains.get(host.row.id)));
    });
  return {
    async list(page) {
      const all = await views({ zone: config.zone });
      return { total: all.length, items: all.slice(page.offset, page.offset + page.limit) };
    },
    async get(id) {
      const [found] = await views({ id });
      if (found === undefined) throw notFound(id);
      return found;
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

    async drain(id, { policy, ceilingMs }) {
      if (policy === null && ceilingMs !== null) throw ceilingAlone();
      const how = policy === null ? null : planOf(policy, ceilingMs);
      if (!(await store.transaction((tx) => hostDrain(tx, id, how)))) throw notFound(id);
    },

    async undrain(id, cancel) {
      if (!(await store.transaction((tx) => hostUndrain(tx, id)))) throw notFound(id);
      if (!cancel) return;
      for (const migration of await store.read((db) => drainFlights(db, id))) {
        await migrationCallOff(store, migration).catch((error: unknown) => {
          // What is decided meanwhile is no failure of this.
          if (!isFailure(error, "conflict", "not_found")) throw error;
        });
      }
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
          const message = `${ids.length} things are the host's or on their way from or to it: ${firstOf(ids, 5)}`;
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

function ceilingAlone(): Failure {
  const message = "a ceiling is for the policy finish alone: name that, too";
  return failure("InvalidParameter", message, { detail: { parameter: "ceilingMs" } });
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

function hostView({ row, connected, use }: HostRead, drain: DrainRead | undefined): HostView {
  const { inventory, readiness, underlay_address, seen_at } = row;
  const common = {
    id: row.id,
    name: row.name,
    cordoned: row.cordoned,
    drain: row.drain_began === null || drain === undefined ? null : drainView(row, row.drain_began, drain),
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

function drainView(
  { drain_policy: policy, drain_ceiling_ms: ceilingMs }: HostRead["row"],
  since: Date,
  { moved, rows }: DrainRead,
): DrainView {
  const left = rows.map((row): DrainView["left"][number] => {
    const reason = row.code === null ? null : { code: row.code, message: row.message ?? "" };
    const common = { instanceId: row.instance_id, migrationId: row.migration_id };
    if (row.is_moving) return { ...common, is: "moving", reason: null };
    if (row.power !== "running") {
      // Asked to end, and not yet at its end, or never: it may still run.
      const runs = row.seen !== null && mayRun(row.seen.is);
      return { ...common, is: runs ? "queued" : "stopped", reason: null };
    }
    const isAskedAgain = reason !== null && isNotRunning(reason.code);
    if (row.request_ended === true && !isAskedAgain) return { ...common, is: "stuck", reason };
    return { ...common, is: reason !== null && isStuck(reason.code) ? "stuck" : "queued", reason };
  });
  return { since, policy, ceilingMs: pauseGrows(policy) ? ceilingMs : null, moved, left };
}
