/** What is moved in each class of the bench, and what it does meanwhile. Pure. */
import type { MigrationPolicy } from "../../src/core/migration/policy.ts";

export const classNames = ["idle", "busy", "large", "large_busy_throttle", "large_busy_postcopy"] as const;
export type ClassName = (typeof classNames)[number];

/** What the link between the two hosts carries, by tc: nothing of it is loopback's own speed. */
export const linkMiBps = 240;

export interface Load {
  /** Of the region that is written in order, again and again. */
  readonly mib: number;
  /** 0: filled once, then left alone. */
  readonly rateMiBps: number;
}

export interface MigrationClass {
  readonly name: ClassName;
  readonly about: string;
  readonly instanceType: string;
  /** null: nothing but the guest's own beat, each millisecond. */
  readonly load: Load | null;
  readonly policy: MigrationPolicy;
  /** Why it cannot be run, where it cannot. */
  readonly missing: string | null;
}

const busyMiBps = 0.6 * linkMiBps;
const largeMiB = 4_200;

export const classes: readonly MigrationClass[] = [
  {
    name: "idle",
    about: "1 GiB, nothing but its beat",
    instanceType: "T1.SMALL1",
    load: null,
    policy: "gentle",
    missing: null,
  },
  {
    name: "busy",
    about: `1 GiB, writes 64 MiB at ${busyMiBps} MiB/s, 0.6 of the link`,
    instanceType: "T1.SMALL1",
    load: { mib: 64, rateMiBps: busyMiBps },
    policy: "gentle",
    missing: null,
  },
  {
    name: "large",
    about: `${largeMiB} MiB resident`,
    instanceType: "S5.MEDIUM8",
    load: { mib: largeMiB, rateMiBps: 0 },
    policy: "gentle",
    missing: null,
  },
  {
    name: "large_busy_throttle",
    about: `${largeMiB} MiB resident, written faster than the link, braked`,
    instanceType: "S5.MEDIUM8",
    load: { mib: largeMiB, rateMiBps: 1.25 * linkMiBps },
    policy: "throttle",
    missing: null,
  },
  {
    name: "large_busy_postcopy",
    about: `${largeMiB} MiB resident, written faster than the link, by post-copy`,
    instanceType: "S5.MEDIUM8",
    load: { mib: largeMiB, rateMiBps: 1.25 * linkMiBps },
    policy: "postcopy",
    missing: null,
  },
];
