/**
 * Every case of the fault loops, derived from the source's crash points and from what may be killed. Pure.
 *
 * A crash case ends a program at one named point on one path and fails if that path never came by. Which paths come by is said
 * here per family of points ("vm.erase": whatever the third word), so a new point in a known family is covered the moment
 * it is written, and one in a new family fails the unit test until a line is added. A kill or freeze case hits a part at a
 * random moment that its seed repeats.
 */
import type { CrashPoint } from "./points.ts";
import { roundOf, type Series } from "./tally.ts";

/** Paths of an instance, of a program that comes back, of a new host, and of a disk with its snapshot. */
export const scenarios = [
  "run",
  "start",
  "stop",
  "shutdown",
  "reboot",
  "soft-reboot",
  "resize",
  "renumber",
  "terminate",
  "recover",
  "relocate",
  "restart",
  "join",
  "storage",
] as const;
export type Scenario = (typeof scenarios)[number];

/** Requests that can be hit in the middle; `join` and `restart` begin with a kill of their own. */
export const requests = [
  "run",
  "start",
  "stop",
  "shutdown",
  "reboot",
  "soft-reboot",
  "resize",
  "renumber",
  "terminate",
] as const satisfies readonly Scenario[];
export type Request = (typeof requests)[number];

export const victims = ["vstation", "compute", "libvirtd", "postgres", "qemu"] as const;
export type Victim = (typeof victims)[number];

export interface CrashCase {
  readonly kind: "crash";
  readonly point: CrashPoint;
  readonly scenario: Scenario;
}

/** `seed`: its round. */
export interface RandomCase {
  readonly kind: "kill" | "freeze";
  readonly victim: Victim;
  readonly scenario: Request;
  readonly seed: number;
}

export type FaultCase = CrashCase | RandomCase;

/** Family of points -> paths that pass every point of it. */
export const reach: Readonly<Record<string, readonly [Scenario, ...Scenario[]]>> = {
  "agents.hello": ["restart", "join"],
  "agents.join": ["join"],
  "agents.pki": ["join"],
  "agents.seen": ["run", "stop", "recover", "terminate"],
  "agents.wanted": ["run", "stop", "terminate"],
  "app.resize": ["resize"],
  "app.renumber": ["renumber"],
  "app.power": ["start", "stop", "reboot", "terminate"],
  "cvm.action": ["run", "stop", "terminate"],
  "link.join": ["join"],
  "machine.allotment": ["resize"],
  "network.guest": ["run"],
  "network.guard": ["run", "restart"],
  "network.pass": ["run", "restart"],
  "placement.batch": ["run"],
  "placement.lease": ["restart"],
  "placement.relocate": ["relocate"],
  "placement.resize": ["resize"],
  "placement.readdress": ["renumber"],
  "reconciler.batch": ["run", "start", "stop", "reboot", "terminate", "recover"],
  "store.instance-insert": ["run"],
  "store.transaction": ["run", "start", "stop", "reboot", "terminate"],
  "disk.grow": ["storage"],
  "disk.make": ["storage"],
  "job.apply": ["storage"],
  "job.backup": ["storage"],
  "job.delete": ["storage"],
  "job.forget": ["storage"],
  "job.place": ["storage"],
  "job.run": ["storage"],
  "job.snapshot": ["storage"],
  "storage.disk": ["storage"],
  "storage.snapshot": ["storage"],
  "vm.disk-grow": ["storage"],
  "vm.disk-limit": ["storage"],
  "vm.disk-plug": ["storage"],
  "vm.disk-unplug": ["storage"],
  "vm.addresses": ["renumber"],
  "vm.destroy": ["stop", "terminate"],
  "vm.disk": ["run"],
  "vm.erase": ["terminate"],
  "vm.prepare": ["run", "start"],
  "vm.press": ["shutdown", "soft-reboot"],
  "vm.record": ["run", "start", "stop", "shutdown", "reboot", "terminate", "recover"],
  "vm.reset": ["reboot"],
  "vm.seed": ["run", "start"],
  "vm.start": ["run", "start", "recover"],
  "wanted.apply": ["run", "start", "stop", "reboot", "terminate"],
  "wanted.peers": ["run", "terminate"],
};

/** Families that none of these paths comes by, and whose test kills at each of their points. */
export const elsewhere: Readonly<Record<string, string>> = {
  // By the clock, weeks after a host has joined.
  "link.renew": "test/real/renewal.test.ts",
  // Once in a host's life, and weeks after that.
  "migration.certificate": "test/real/migration-tls.test.ts",
  // Only where a guest changes hosts while it runs.
  "migration.disks": "test/real/migration-local-disks.test.ts",
  "migration.postcopy": "test/real/migration-postcopy.test.ts",
  "migration.source": "test/real/compute-migration.test.ts",
  "migration.target": "test/real/compute-migration.test.ts",
  "network.switch": "test/real/compute-migration.test.ts",
  "vm.arrival": "test/real/compute-migration.test.ts",
  "app.migrate": "test/real/vstation-migration-edges.test.ts",
  "placement.migrate": "test/real/vstation-migration-edges.test.ts",
  "queue.try": "test/real/vstation-migration-edges.test.ts",
  "queue.drain": "test/real/vstation-migration-edges.test.ts",
  "queue.refused": "test/real/vstation-migration-edges.test.ts",
  "reconciler.migration": "test/real/vstation-migration-edges.test.ts",
};

export function familyOf(point: CrashPoint): string {
  return point.name.split(".").slice(0, 2).join(".");
}

/** Points that no line of {@link reach} or {@link elsewhere} speaks of. */
export function uncovered(points: readonly CrashPoint[]): CrashPoint[] {
  return points.filter((point) => reach[familyOf(point)] === undefined && elsewhere[familyOf(point)] === undefined);
}

export function crashCases(points: readonly CrashPoint[]): CrashCase[] {
  return points.flatMap((point) =>
    (reach[familyOf(point)] ?? []).map((scenario) => ({ kind: "crash", point, scenario }) as const),
  );
}

/** One round of kills and freezes: every victim on every request, each with a seed of its own. */
export function randomCases(round: number): RandomCase[] {
  return (["kill", "freeze"] as const).flatMap((kind) =>
    victims.flatMap((victim) => requests.map((scenario) => ({ kind, victim, scenario, seed: round }) as const)),
  );
}

/** How rows and `--only` name it. */
export function caseName(it: FaultCase): string {
  if (it.kind === "crash") return `crash/${it.point.name}/${it.scenario}`;
  return roundOf(randomSeries(it), it.seed);
}

export function randomSeries({ kind, victim, scenario }: RandomCase): Series {
  return { during: "a request", hurt: `${kind}/${victim}`, state: scenario, name: `${kind}/${victim}/${scenario}` };
}

/** A number that depends on the whole case: the same case draws the same moments each time. */
export function seedOf(it: FaultCase): number {
  return hashOf(caseName(it));
}

export function hashOf(name: string): number {
  let hash = 2166136261;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 16777619) >>> 0;
  return hash;
}
