/**
 * Finds a daemon that is there but dead: stopped, or with its main loop stuck. Any byte it sends counts as a sign of life; after an
 * interval of silence we ping, and after `count` intervals of silence in a row the connection is given up.
 *
 * Each check looks only at what arrived since the one before and arms the next one itself. So if this process stands still for a
 * minute it finds one silent interval afterwards, not twelve.
 */
export interface KeepaliveOptions {
  readonly intervalMs: number;
  readonly count: number;
}

export class Keepalive {
  readonly #options: KeepaliveOptions;
  readonly #ping: () => void;
  readonly #dead: () => void;
  #timer: NodeJS.Timeout | undefined;
  #heard = true;
  #silent = 0;

  constructor(options: KeepaliveOptions, ping: () => void, dead: () => void) {
    this.#options = options;
    this.#ping = ping;
    this.#dead = dead;
    this.#arm();
  }

  /** Something arrived. */
  heard(): void {
    this.#heard = true;
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    this.#timer = setTimeout(() => this.#check(), this.#options.intervalMs);
  }

  #check(): void {
    this.#silent = this.#heard ? 0 : this.#silent + 1;
    this.#heard = false;
    if (this.#silent >= this.#options.count) {
      this.#dead();
      return;
    }
    this.#ping();
    this.#arm();
  }
}
