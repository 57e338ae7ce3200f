/**
 * Reads that the log of calls has told of a moment ago. Who waits for something asks the same again and again; that they saw it stands
 * in the log once, and again when they still look a while later.
 *
 * The same is: by the same key, from the same place and program, of the same things, with the same outcome. So what was refused, what
 * another may see, and each further id that somebody tries, is a line of its own. Changes never come here.
 */
import type { AuditEntry } from "./audit.ts";

const silentMs = 10 * 60_000;
/** What is pushed out is told once more than it need be. */
const most = 10_000;

export class AuditRepeats {
  /** When each was told; the oldest first. */
  readonly #told = new Map<string, number>();

  has(entry: AuditEntry, outcome: string, now: number): boolean {
    this.#forget(now);
    return this.#told.has(keyOf(entry, outcome));
  }

  add(entry: AuditEntry, outcome: string, now: number): void {
    const key = keyOf(entry, outcome);
    this.#told.delete(key);
    this.#told.set(key, now);
    this.#forget(now);
  }

  #forget(now: number): void {
    for (const [key, at] of this.#told) {
      // A clock that was put back makes nothing silent for longer.
      const recent = at <= now && now - at < silentMs;
      if (recent && this.#told.size <= most) return;
      this.#told.delete(key);
    }
  }
}

function keyOf(entry: AuditEntry, outcome: string): string {
  const { edge, action, accountId, actor, source, agent, resourceIds } = entry;
  return JSON.stringify([edge, action, accountId, actor, source, agent, resourceIds, outcome]);
}
