/**
 * Tells when there is room again for guests that were paused because a file system was full: that of this host or the shared one. Nobody announces freed space, so
 * the free blocks are read every two seconds, and only while a guest waits. A guest that runs full again at once waits longer.
 */
import { statfs } from "node:fs/promises";
import type { InstanceId } from "../../lib/ids.ts";

const everyMs = 2_000;
const longestMs = 60_000;
/** Room means: enough for a guest to write for a while, not the one block that somebody freed. */
const enoughBytes = 16 * 2 ** 20;
const enoughShare = 0.005;

export class SpaceWatch {
  readonly #directories: readonly string[];
  readonly #onRoom: (id: InstanceId) => void;
  /** When each was told last, to space out a guest that fills what it gets. */
  readonly #told = new Map<InstanceId, { atMs: number; delayMs: number }>();
  readonly #waiting = new Map<InstanceId, number>();
  #timer: NodeJS.Timeout | null = null;

  constructor(directories: readonly string[], onRoom: (id: InstanceId) => void) {
    this.#directories = directories;
    this.#onRoom = onRoom;
  }

  /** Calls back once for this instance, when there is room. May be called again and again meanwhile. */
  waitFor(id: InstanceId): void {
    if (this.#waiting.has(id)) return;
    const now = performance.now();
    const last = this.#told.get(id);
    const again = last !== undefined && now - last.atMs < 2 * last.delayMs + 10_000;
    const delayMs = again ? Math.min(longestMs, 2 * last.delayMs) : everyMs;
    this.#told.set(id, { atMs: now, delayMs });
    this.#waiting.set(id, now + (again ? delayMs : 0));
    this.#timer ??= setInterval(() => void this.#look(), everyMs);
  }

  close(): void {
    if (this.#timer) clearInterval(this.#timer);
    this.#timer = null;
    this.#waiting.clear();
  }

  async #look(): Promise<void> {
    // Which of them a guest waits for is not known; it goes on when there is room in all.
    for (const directory of this.#directories) if (!(await hasRoom(directory))) return;
    const now = performance.now();
    for (const [id, notBefore] of this.#waiting) {
      if (now < notBefore) continue;
      this.#waiting.delete(id);
      this.#onRoom(id);
    }
    if (this.#waiting.size === 0) this.close();
  }
}

async function hasRoom(directory: string): Promise<boolean> {
  const { bavail, blocks, bsize } = await statfs(directory).catch(() => ({ bavail: 0, blocks: 1, bsize: 1 }));
  return bavail * bsize >= Math.max(enoughBytes, blocks * bsize * enoughShare);
}
