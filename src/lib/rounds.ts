/** Work that looks at everything each time: one round at a time, and whoever asks meanwhile shares the one that comes next. */
export class Rounds {
  readonly #work: () => Promise<void>;
  #now: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves after a round that began after this call, or fails with it. */
  request(): Promise<void> {
    if (this.#now === null) return this.#begin();
    const begin = (): Promise<void> => this.#begin();
    return (this.#next ??= this.#now.then(begin, begin));
  }

  /** The round that ends all that has been asked for; null when none is left. */
  get last(): Promise<void> | null {
    return this.#next ?? this.#now;
  }

  #begin(): Promise<void> {
    this.#next = null;
    this.#now = this.#work().finally(() => {
      // One that waits begins in a moment, and until then nobody begins another beside it.
      if (this.#next === null) this.#now = null;
    });
    return this.#now;
  }
}
