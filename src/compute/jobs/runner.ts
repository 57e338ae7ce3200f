/**
 * The jobs of this host (src/api/agent-storage.ts), each by a task of its own: level-triggered from what is wanted and what lies in
 * the jobs' records.
 *
 * A record is written before a job does anything, so that whoever comes back knows what may have to be cleared away, and again at
 * its end, so that it is done once. In between nothing is remembered: a job that was cut off begins anew, and what it makes
 * appears by a rename (work.ts), which is its one moment of truth. A job that is not wanted any more is stopped, what it left is
 * removed, and only then is its record.
 *
 * `load` comes before the workers start: a job that changes a disk holds that disk's instance off from the first moment on.
 */
import { rm } from "node:fs/promises";
import * as z from "zod";
import {
  jobSpecSchema,
  seenJobSchema,
  type JobSpec,
  type JobState,
  type SeenJob,
  type WantedJob,
} from "../../api/agent-storage.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { makeDurableDirectory, readDurable, removeTemporaries } from "../../lib/durable.ts";
import { Failure, formatError, isFailure } from "../../lib/errors.ts";
import { parseId, type JobId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { Limit } from "../limit.ts";
import { jobFile, type Paths } from "../paths.ts";
import type { Write } from "../storage/reserve.ts";
import { messageOf, reasonOf } from "../vm/failures.ts";

/** What jobs do; each kind's place is in work.ts. */
export interface JobWork {
  /** Keeps off what must not begin while the job is open; called before anything else, and let go of at its end. */
  hold(spec: JobSpec): () => void;
  /** Does it, whatever was done of it before. Throws {@link jobMustWait} while something stands in its way. */
  run(id: JobId, spec: JobSpec, tools: JobTools): Promise<Record<string, number | string>>;
  /** Removes what an unfinished run left. */
  clean(id: JobId, spec: JobSpec): Promise<void>;
}

export interface JobTools {
  readonly signal: AbortSignal;
  readonly progress: (percent: number) => void;
}

export interface JobRunnerOptions {
  readonly paths: Paths;
  readonly write: Write;
  readonly wanted: () => readonly WantedJob[];
  readonly work: JobWork;
  readonly publish: (id: JobId, seen: SeenJob | null) => void;
  readonly log: Log;
}

const recordSchema = z.strictObject({
  version: z.literal(1),
  spec: jobSpecSchema,
  /** How it ended; null: it has not. */
  end: seenJobSchema.shape.state.nullable(),
});

interface Task {
  readonly spec: JobSpec;
  readonly stop: AbortController;
  readonly over: Promise<void>;
}

/** Copies at once: they compete for the same disks and with the guests. */
const atOnce = 2;
const attempts = 3;
const waitMs = 1_000;
const longestRetryMs = 60_000;

export class JobRunner {
  readonly #options: JobRunnerOptions;
  readonly #limit = new Limit(atOnce);
  readonly #tasks = new Map<JobId, Task>();
  /** Of jobs that were at work when the last process ended. */
  readonly #found = new Map<JobId, JobSpec>();
  #syncing: Promise<void> = Promise.resolve();
  #stopped = false;

  constructor(options: JobRunnerOptions) {
    this.#options = options;
  }

  /** Reads what lies here, begins what is wanted and clears away what is not. */
  async load(): Promise<void> {
    const { paths, log } = this.#options;
    await makeDurableDirectory(paths.jobs, 0o700);
    // Copies have temporaries, too, and QEMU may be writing one.
    for (const name of await removeTemporaries(paths.jobs, ".json")) {
      const id = parseId("job", name.replace(/\.json$/, ""));
      if (id === undefined) continue;
      try {
        const record = await readDurable(jobFile(paths, id), recordSchema);
        if (record !== undefined) this.#found.set(id, record.spec);
      } catch (error) {
        log.error({ err: error, job: id }, "the record of a job cannot be read");
      }
    }
    this.changed();
  }

  /** What is wanted may have changed. Whatever must be held is held when this returns. */
  changed(): void {
    if (this.#stopped) return;
    const wanted = new Map(this.#options.wanted().map((job) => [job.id, job.spec]));
    // What is stopped is over before anything new begins: a removal must not be overtaken by what it removes.
    const ending = [...this.#tasks].flatMap(([id, task]) => {
      if (wanted.has(id)) return [];
      task.stop.abort();
      return [task.over];
    });
    for (const [id, spec] of wanted) {
      this.#found.delete(id);
      if (!this.#tasks.has(id)) this.#begin(id, spec, Promise.all(ending));
    }
    this.#syncing = this.#syncing.then(() => this.#clear(new Set(wanted.keys())));
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    for (const { stop } of this.#tasks.values()) stop.abort();
    await Promise.all([...this.#tasks.values()].map(({ over }) => over));
    await this.#syncing;
  }

  #begin(id: JobId, spec: JobSpec, after: Promise<unknown>): void {
    const stop = new AbortController();
    const letGo = this.#options.work.hold(spec);
    const over = after
      .then(() => this.#run(id, spec, stop.signal))
      .catch((error: unknown) => this.#options.log.error({ err: error, job: id }, "a job ended without an end"))
      .finally(letGo);
    this.#tasks.set(id, { spec, stop, over });
  }

  async #clear(wanted: ReadonlySet<JobId>): Promise<void> {
    for (const [id, task] of this.#tasks) {
      if (wanted.has(id)) continue;
      await task.over;
      if (await this.#forget(id, task.spec)) this.#tasks.delete(id);
    }
    for (const [id, spec] of this.#found) if (await this.#forget(id, spec)) this.#found.delete(id);
  }

  async #forget(id: JobId, spec: JobSpec): Promise<boolean> {
    const { work, paths, publish, log } = this.#options;
    try {
      await work.clean(id, spec);
      crashPoint("job.forget.cleaned");
      await rm(jobFile(paths, id), { force: true });
      publish(id, null);
      return true;
    } catch (error) {
      log.error(
        { err: error, job: id },
        "what a job left could not be cleared away; it is tried again with the next change",
      );
      return false;
    }
  }

  async #run(id: JobId, spec: JobSpec, signal: AbortSignal): Promise<void> {
    const { paths } = this.#options;
    // One that cannot be read says as little as none: whatever was done is found by its file, and done again at the worst.
    const record = await readDurable(jobFile(paths, id), recordSchema).catch(() => undefined);
    if (record === undefined) await this.#record(id, spec, null);
    else if (record.end !== null) return this.#say(id, record.end);
    crashPoint("job.run.recorded");
    this.#say(id, { is: "waiting", why: "its turn" });
    const end = await this.#untilEnd(id, spec, signal);
    if (end === undefined) return;
    crashPoint("job.run.worked");
    await this.#record(id, spec, end);
    crashPoint("job.run.end-recorded");
    this.#say(id, end);
  }

  /** undefined: it was stopped. */
  async #untilEnd(id: JobId, spec: JobSpec, signal: AbortSignal): Promise<JobState | undefined> {
    const { work, log } = this.#options;
    const progress = (percent: number): void => this.#say(id, { is: "running", percent: Math.floor(percent) });
    for (let failures = 0; !signal.aborted;) {
      try {
        const result = await this.#limit.run(() => work.run(id, spec, { signal, progress }));
        return { is: "done", result };
      } catch (error) {
        if (signal.aborted) break;
        if (isFailure(error) && error.code === waiting) {
          this.#say(id, { is: "waiting", why: error.message.slice(0, 256) });
          await sleep(waitMs, signal).catch(() => undefined);
          continue;
        }
        failures++;
        log.warn({ chain: formatError(error), job: id, kind: spec.kind, failures }, "a job failed");
        // A removal has no other end than success.
        if (failures >= attempts && !isRemoval(spec)) {
          return { is: "failed", reason: reasonOf(error), message: messageOf(error) };
        }
        this.#say(id, { is: "waiting", why: `another try: ${messageOf(error)}`.slice(0, 256) });
        await sleep(backoff(failures - 1, waitMs, longestRetryMs), signal).catch(() => undefined);
      }
    }
    return undefined;
  }

  async #record(id: JobId, spec: JobSpec, end: JobState | null): Promise<void> {
    const { paths, write } = this.#options;
    await write(jobFile(paths, id), `${JSON.stringify({ version: 1, spec, end })}\n`);
  }

  #say(id: JobId, state: JobState): void {
    if (!this.#stopped) this.#options.publish(id, { id, state });
  }
}

function isRemoval({ kind }: JobSpec): boolean {
  return kind === "disk.delete" || kind === "snapshot.delete";
}

const waiting = "JobMustWait";

/** Something that passes by itself stands in the way of a job; it is tried again soon, and that is no failed attempt. */
export function jobMustWait(why: string): Failure {
  return new Failure("conflict", waiting, why);
}
