/** Hosts as operators see them. */
import { failure } from "../../core/failure-codes.ts";
import { memoryOf } from "../../core/placement.ts";
import type { Hosts, HostView } from "../cloud.ts";
import { hostRead, type HostRead } from "../store/hosts.ts";
import type { AppContext } from "./context.ts";

const askMs = 30_000;

export function hosts({ store, agents, config }: AppContext): Hosts {
  const read = (): Promise<HostRead[]> => store.read((db) => hostRead(db, { zone: config.zone }));
  return {
    async list(page) {
      // A host that joined and never said hello has nothing to show yet.
      const all = (await read()).flatMap((host) => hostView(host) ?? []);
      return { total: all.length, items: all.slice(page.offset, page.offset + page.limit) };
    },
    async get(id) {
      const [found] = await store.read((db) => hostRead(db, { id }));
      const view = found === undefined ? undefined : hostView(found);
      if (view === undefined) throw failure("HostNotFound", `there is no host ${id}`);
      return view;
    },
    ask: (id, ask) => agents.session(id).asks.ask(ask, askMs),
  };
}

function hostView({ row, connected, use }: HostRead): HostView | undefined {
  const { inventory, readiness, underlay_address, seen_at } = row;
  if (inventory === null || readiness === null || underlay_address === null || seen_at === null) return undefined;
  const broken = readiness.checks.some(({ level }) => level === "error");
  return {
    id: row.id,
    name: row.name,
    state: !connected ? "unreachable" : broken ? "degraded" : "ready",
    underlayAddress: underlay_address,
    inventory,
    readiness,
    overcommit: { cpu: row.overcommit_cpu ?? 1, memory: row.overcommit_memory ?? 1 },
    used: {
      vcpus: use.vcpus + use.dedicated,
      dedicated: use.dedicated,
      memoryMiB: memoryOf(use),
      diskGiB: use.diskGiB,
      instances: use.instances,
    },
    seenAt: seen_at,
    joinedAt: row.joined_at,
  };
}
