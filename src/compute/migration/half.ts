/**
 * What both halves of a migration are to the runner, what they work with, and the loop that they live by: look, decide for one step, do it,
 * look again. A wake-up is never an order; what comes while a turn is under way makes another one.
 */
import { rm } from "node:fs/promises";
import type { SeenMigration } from "../../api/agent-migration.ts";
import type { WantedMigration } from "../../api/agent.ts";
import type { MigrationTransport } from "../../core/migration/halves.ts";
import type { InstanceId, MigrationId } from "../../lib/ids.ts";
import { backoff } from "../../lib/retry.ts";
import type { Identity } from "../link/identity.ts";
import { migrationFile } from "../paths.ts";
import { monitorSocket } from "./monitor.ts";
import type { Pauses } from "./pauses.ts";
import type { Context } from "../vm/context.ts";
import type { Fleet } from "../vm/fleet.ts";
import type { Worker } from "../vm/worker.ts";

export interface MigrationContext {
  readonly context: Context;
  readonly fleet: Pick<Fleet, "migrating">;
  readonly identity: () => Identity | undefined;
  /** How the zone's guests go over. Throws `MigrationNotTrusted` where this host's QEMU has not what that takes. */
  readonly transport: () => Promise<MigrationTransport>;
  /** Over so many a guest's memory leaves. */
  readonly connections: () => number;
  readonly underlayAddress: string;
  /** After so much of it the other host is lost. */
  readonly silenceMs: number;
  /** Of guests that have left this host. */
  readonly pauses: Pauses;
  /** VStation says nothing more here of an instance that has left, up to this epoch: `WantedStore.forget`. */
  readonly forgetWanted: (id: InstanceId, epoch: number) => Promise<void>;
  /** null: this host has forgotten its half. */
  readonly publish: (id: MigrationId, seen: SeenMigration | null) => void;
  /** The half has ended and is to be let go of. */
  readonly over: (id: MigrationId) => void;
}

/** One migration at one host; `Half` is what this host has of it. */
export interface Half {
  readonly wanted: WantedMigration;
  /** null: VStation does not name it any more. */
  tell(wanted: WantedMigration | null): void;
  wake(): void;
  /** Ends the loop, and what it has begun as its death would; the guest is where it is. */
  stop(): Promise<void>;
}

/** When to look again if nothing wakes it before; "now": something was done. */
export type Rest = "now" | { readonly ms: number } | "wait";

/** A half that waits for what nobody announces looks this often. */
export const lookEveryMs = 2_000;
const firstRetryMs = 300;
const longestRetryMs = 5_000;

export class Turns {
  readonly #turn: () => Promise<Rest>;
  /** It is tried again, ever less often. */
  readonly #failed: (error: unknown) => void;
  #running: Promise<void> | null = null;
  #woken = false;
  #timer: NodeJS.Timeout | undefined;
  #failures = 0;
  #stopped = false;

  constructor(turn: () => Promise<Rest>, failed: (error: unknown) => void) {
    this.#turn = turn;
    this.#failed = failed;
  }

  wake(): void {
    if (this.#stopped) return;
    this.#woken = true;
    this.#running ??= this.#run().finally(() => {
      this.#running = null;
      // One that came after the last look at it.
      if (this.#woken) this.wake();
    });
  }

  async stop(): Promise<void> {
    this.end();
    await this.#running;
  }

  /** From within a turn: it is the last one. */
  end(): void {
    this.#stopped = true;
    clearTimeout(this.#timer);
  }

  async #run(): Promise<void> {
    while (this.#woken && !this.#stopped) {
      this.#woken = false;
      clearTimeout(this.#timer);
      let rest: Rest;
      try {
        rest = await this.#turn();
        this.#failures = 0;
      } catch (error) {
        this.#failed(error);
        rest = { ms: backoff(this.#failures++, firstRetryMs, longestRetryMs) };
      }
      if (rest === "now") this.#woken = true;
      else if (rest !== "wait" && !this.#stopped) this.#timer = setTimeout(() => this.wake(), rest.ms);
    }
  }
}

/** This host forgets its half: the record last of what lies here, then everything that knows of it. From within its last turn. */
export async function letGo(
  { context, publish, over }: MigrationContext,
  { id, instanceId }: WantedMigration,
  { worker, turns }: { readonly worker: Worker; readonly turns: Turns },
): Promise<void> {
  // Whoever still has the guest needs it no more.
  await rm(monitorSocket(instanceId), { force: true });
  await rm(migrationFile(context.paths, id), { force: true });
  publish(id, null);
  turns.end();
  worker.migrates(null);
  over(id);
}
