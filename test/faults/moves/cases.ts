/**
 * What may end, hang or be cut off while a guest moves, at every state of the engine that moves it. The states are the crash points on
 * its way, taken from the source, and the copy itself. Pure.
 *
 * The program that passes the point is stopped there; then the victim is hurt, and the program goes on. So each case hits the very
 * state that it names, however short it is.
 */
import { familyOf } from "../cases.ts";
import type { CrashPoint } from "../points.ts";
import { roundOf, type Series } from "../tally.ts";

/** Families of points that a move passes. */
export const moveFamilies: readonly string[] = [
  "app.migrate",
  "migration.source",
  "migration.target",
  "network.switch",
  "placement.migrate",
  "reconciler.migration",
  "vm.arrival",
];

/**
 * Of the engine, and not on the way of the guest that moves here: QEMU's certificate is made when Compute gets its own, only disks on a
 * host's own storage are copied, its policy is not post-copy, and it does not wait in the queue. At each of their points a test of their own
 * kills the program that passes there (`elsewhere` in ../cases.ts); nothing else is killed, frozen or cut off at each.
 */
export const notOnTheWay: readonly string[] = [
  "migration.certificate",
  "migration.disks",
  "migration.postcopy",
  "queue.drain",
  "queue.refused",
  "queue.try",
];

/** Points that only a move passes that comes to nothing: it is called off while it copies. */
const ofMovesToNothing = [
  "migration.source.stayed-written",
  "migration.target.dropped-written",
  "migration.target.cleaned",
];

export type MoveState =
  | { readonly is: "point"; readonly point: CrashPoint; readonly calledOff: boolean }
  /** Memory is on its way. */
  | { readonly is: "copying" };

/** `source` and `target` are the two hosts of the move. */
export const moveVictims = [
  "vstation",
  "postgres",
  "source/compute",
  "source/libvirtd",
  "source/qemu",
  "target/compute",
  "target/libvirtd",
  "target/qemu",
] as const;
export type MoveVictim = (typeof moveVictims)[number];

export const cables = ["source", "target"] as const;

export type Hurt =
  | { readonly how: "kill" | "freeze"; readonly victim: MoveVictim }
  /** That host is reached by nobody for a while, and reaches nobody. */
  | { readonly how: "cut"; readonly victim: (typeof cables)[number] };

export interface MoveCase {
  readonly state: MoveState;
  readonly hurt: Hurt;
  readonly round: number;
}

export function moveStates(points: readonly CrashPoint[]): MoveState[] {
  const onTheWay = points.filter((point) => moveFamilies.includes(familyOf(point)));
  return [
    { is: "copying" },
    ...onTheWay.map((point) => ({ is: "point", point, calledOff: ofMovesToNothing.includes(point.name) }) as const),
  ];
}

/**
 * One round: everything that may be hurt, in every state. Each lap goes through all states and takes the next hurt at the next state
 * (a Latin square), so that a run that ends early has seen every state, and as many hurts as it had laps and states.
 */
export function moveCases(points: readonly CrashPoint[], round: number): MoveCase[] {
  const hurts: Hurt[] = [
    ...moveVictims.flatMap((victim) => (["kill", "freeze"] as const).map((how) => ({ how, victim }))),
    ...cables.map((victim) => ({ how: "cut", victim }) as const),
  ];
  const ofStates = moveStates(points).map((state, at) => {
    const first = at % hurts.length;
    return [...hurts.slice(first), ...hurts.slice(0, first)].map((hurt) => ({ state, hurt, round }));
  });
  return hurts.flatMap((_, lap) => ofStates.flatMap((cases) => cases.slice(lap, lap + 1)));
}

/** How rows and `--only` name it. */
export function moveName(it: MoveCase): string {
  return roundOf(moveSeries(it), it.round);
}

export function moveSeries(it: MoveCase): Series {
  const state = stateName(it.state);
  const hurt = `${it.hurt.how}/${it.hurt.victim}`;
  return { during: "a move", hurt, state, name: `move/${state}/${hurt}` };
}

function stateName(state: MoveState): string {
  return state.is === "copying" ? state.is : state.point.name;
}
