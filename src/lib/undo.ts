/**
 * A local undo stack for short work in one process: push an undo after each step that worked, run them backwards when a later
 * step throws, clear at the end. It does not survive a crash; what must is in SQL or re-derived by a reconciler.
 */
export type Undo = () => Promise<void> | void;

export class UndoStack {
  #undos: { name: string; undo: Undo }[] = [];

  push(name: string, undo: Undo): void {
    this.#undos.push({ name, undo });
  }

  /** The work is whole: nothing is undone any more. */
  clear(): void {
    this.#undos = [];
  }

  /** Runs every undo, last first; a failing one is reported and does not keep the others from running. */
  async unwind(onError: (name: string, error: unknown) => void): Promise<void> {
    for (let entry = this.#undos.pop(); entry; entry = this.#undos.pop()) {
      try {
        await entry.undo();
      } catch (error) {
        onError(entry.name, error);
      }
    }
  }
}
