/**
 * What the pauses of guests took that have left this host (core/migration/aim.ts): on the disk, so that a Compute that begins anew does not
 * aim by guesses. Nothing waits for that and nothing fails for it; a file that cannot be read is as none.
 */
import { basename, dirname } from "node:path";
import * as z from "zod";
import { localDisksOf } from "../../api/agent-migration.ts";
import type { InstanceSpec } from "../../api/agent.ts";
import {
  aimAfter,
  classOf,
  mostPauses,
  remember,
  usualBeyond,
  type GuestClass,
  type Pause,
} from "../../core/migration/aim.ts";
import { switchover, type Switchover } from "../../core/migration/prediction.ts";
import { readDurable, removeTemporaries, writeDurably } from "../../lib/durable.ts";
import type { Log } from "../../lib/log.ts";
import { targetsOf } from "./local-disks.ts";

const count = z.int().nonnegative();
const pauseSchema = z.strictObject({
  of: z.strictObject({ vcpus: count, devices: count, memoryMiB: count, disks: z.boolean() }),
  pauseMs: z.number().nonnegative(),
  limitMs: z.number().nonnegative(),
}) satisfies z.ZodType<Pause>;
const fileSchema = z.strictObject({ version: z.literal(1), pauses: z.array(pauseSchema).max(mostPauses) });

export function classOfGuest(spec: InstanceSpec): GuestClass {
  const { vcpus, memoryMiB, nics, dataDisks } = spec;
  const devices = nics.length + 1 + dataDisks.length;
  return classOf({ vcpus, devices, memoryMiB, disks: targetsOf(localDisksOf(spec)).length > 0 });
}

export class Pauses {
  readonly #file: string;
  readonly #log: Log;
  #known: readonly Pause[] = [];
  #writing: Promise<void> = Promise.resolve();

  constructor(file: string, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  get known(): readonly Pause[] {
    return this.#known;
  }

  /** How a guest would be handed over now, as those like it were; null: of any class. */
  switchover(of: GuestClass | null): Switchover {
    return { limitMs: aimAfter(this.#known, of), fixedMs: usualBeyond(this.#known, of) ?? switchover.fixedMs };
  }

  async load(): Promise<void> {
    try {
      await removeTemporaries(dirname(this.#file), basename(this.#file));
      this.#known = (await readDurable(this.#file, fileSchema))?.pauses ?? [];
    } catch (error) {
      this.#log.warn({ err: error }, "what earlier pauses took cannot be read; they are measured anew");
    }
  }

  /** Known at once. It is written when nothing hurries, by none of the room that is held for notes that must be written. */
  remember(pause: Pause, aimMs: number): void {
    const known = remember(this.#known, pause, aimMs);
    if (known === this.#known) return;
    this.#known = known;
    this.#writing = this.#writing.then(() => this.#write());
  }

  /** What is known now is on the disk, if it can be. */
  async written(): Promise<void> {
    await this.#writing;
  }

  async #write(): Promise<void> {
    try {
      await writeDurably(this.#file, `${JSON.stringify({ version: 1, pauses: this.#known })}\n`);
    } catch (error) {
      this.#log.warn({ err: error }, "what a pause took cannot be written down");
    }
  }
}
