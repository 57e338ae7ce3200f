/**
 * Work that many ask for, and that is the same for all of them. What is under way may have begun too early for whoever asks meanwhile:
 * they share one run after it.
 */
export class Coalesced {
  readonly #work: () => Promise<void>;
  #running: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves when a run that begins now or later has ended, or fails with it. */
  run(): Promise<void> {
    if (this.#running === null) return this.#begin();
    const begin = (): Promise<void> => this.#begin();
    return (this.#next ??= this.#running.then(begin, begin));
  }

  /** The run that ends all that has been asked for; null when none is left. */
  get last(): Promise<void> | null {
    return this.#next ?? this.#running;
  }

  #begin(): Promise<void> {
    this.#next = null;
    this.#running = this.#work().finally(() => {
      // One that waits begins in a moment, and until then nobody begins another beside it.
      if (this.#next === null) this.#running = null;
    });
    return this.#running;
  }
}
