/**
 * The story of a migration (core/migration/story.ts) on its way: lines are added at once, and go to a file beside the half's record when
 * nothing hurries, so that a Compute that begins anew still has them. One that is full is thinned, and its file written anew: once in some hundred
 * looks. A line that could not be written is no reason for anything.
 *
 * Whoever may add: the source's half and what it has begun. A line that a death tore is left out when it is read again.
 */
import { appendFile, rm } from "node:fs/promises";
import { performance } from "node:perf_hooks";
import { storyLineSchema } from "../../api/agent-migration.ts";
import { storyLinesMax, thin, type StoryLine, type StoryStep } from "../../core/migration/story.ts";
import type { Plan, Seen } from "../../core/migration/policy.ts";
import type { SourceState } from "../../core/migration/halves.ts";
import { writeDurably } from "../../lib/durable.ts";
import { readIfThere } from "../../lib/files.ts";
import type { Log } from "../../lib/log.ts";

/** With so many lines it is full for looks: room for what comes after them. */
const looksUpTo = storyLinesMax - 50;
/** The policy goes by the first passes and by the last few minutes, at five looks a second at most. */
const mostSeen = 4_000;
const firstSeen = 100;

export class Story {
  readonly #file: string;
  readonly #log: Log;
  #lines: StoryLine[] = [];
  /** Beside them: the policy is shown what the story leaves out. */
  #seen: Seen[] = [];
  /** So many of them are in the file; null: it has others, which they are to take the place of. */
  #written: number | null = 0;
  #writing: Promise<void> = Promise.resolve();
  #isRead = false;

  constructor(file: string, log: Log) {
    this.#file = file;
    this.#log = log;
  }

  /** What lies here of it from before comes first. */
  async read(): Promise<void> {
    if (this.#isRead) return;
    this.#isRead = true;
    const text = await readIfThere(this.#file).catch((error: unknown) => {
      this.#log.warn({ err: error }, "the story of a migration cannot be read");
      return undefined;
    });
    for (const line of (text ?? "").split("\n")) {
      const parsed = storyLineSchema.safeParse(jsonOf(line));
      if (parsed.success) this.add(parsed.data);
    }
    if (this.#written !== null) this.#written = this.#lines.length;
  }

  get lines(): readonly StoryLine[] {
    return this.#lines;
  }

  /** What the policy is shown. */
  get seen(): readonly Seen[] {
    return this.#seen;
  }

  /** Lines that are worth being told of before the end. */
  get notable(): number {
    return this.#lines.filter((line) => {
      if (line.is === "step") return line.step === "broken" || line.step === "rejoined";
      return line.is === "lever" || line.is === "foretold";
    }).length;
  }

  begin(plan: Plan): void {
    this.add({ is: "began", at: now(), ...plan });
  }

  step(step: StoryStep, at = now()): void {
    this.add({ is: "step", at, step });
  }

  add(line: StoryLine): void {
    const most = line.is === "look" ? looksUpTo : storyLinesMax;
    if (this.#lines.length >= most) this.#thin();
    if (this.#lines.length < most) this.#lines.push(line);
    if (line.is === "look" || line.is === "lever") this.#see(line);
  }

  #thin(): void {
    const thinned = thin(this.#lines);
    if (thinned.length === this.#lines.length) return;
    this.#lines = thinned;
    this.#written = null;
  }

  #see(line: Seen): void {
    this.#seen.push(line);
    if (this.#seen.length <= mostSeen) return;
    this.#seen = this.#seen.filter(({ is }, at) => is === "lever" || at < firstSeen || at >= mostSeen / 2);
  }

  /** Its last line, once. */
  end(state: Extract<SourceState, { is: "stayed" | "left" }>): void {
    const last = this.#lines.at(-1);
    if (last?.is === "stayed" || last?.is === "left") return;
    // By its last moment VStation tells the newest from one that is told late; this clock may have been set back since the last line.
    this.add({ at: Math.max(now(), last?.at ?? 0), ...state });
    void this.write();
  }

  /** One write after the other; never rejects. */
  async write(): Promise<void> {
    this.#writing = this.#writing.then(() => this.#writeNew());
    await this.#writing;
  }

  async #writeNew(): Promise<void> {
    const written = this.#written;
    const lines = this.#lines.slice(written ?? 0);
    if (lines.length === 0) return;
    this.#written = this.#lines.length;
    // The end of a line comes with the next one, so that one which is torn does not take that with it.
    const text = lines.map((line) => `\n${JSON.stringify(line)}`).join("");
    try {
      if (written === null) await writeDurably(this.#file, text);
      else await appendFile(this.#file, text, { mode: 0o600 });
    } catch (error) {
      this.#log.warn({ err: error }, "the story of a migration cannot be written");
    }
  }

  async remove(): Promise<void> {
    await this.#writing;
    await rm(this.#file, { force: true });
  }
}

/** Milliseconds since 1970, to a tenth; it only goes forward while this process lives. */
export function now(): number {
  return wall(performance.now());
}

/** The same for a moment of `performance.now()`. */
export function wall(moment: number): number {
  return Math.round((performance.timeOrigin + moment) * 10) / 10;
}

function jsonOf(line: string): unknown {
  try {
    return JSON.parse(line) as unknown;
  } catch {
    return null;
  }
}
