/** Work that looks at everything each time: one round at a time, and whoever asks meanwhile shares the one that comes next. */
export class Rounds {
  readonly #work: () => Promise<void>;
  #now: Promise<void> | null = null;
  #next: Promise<void> | null = null;

  constructor(work: () => Promise<void>) {
    this.#work = work;
  }

  /** Resolves after a round that began after this call. */
  request(): Promise<void> {
    if (this.#now === null) {
      this.#now = this.#work().finally(() => (this.#now = null));
      return this.#now;
    }
    this.#next ??= this.#now
      .catch(() => undefined)
      .then(() => {
        this.#next = null;
        return this.request();
      });
    return this.#next;
  }
}
