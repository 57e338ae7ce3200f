/**
 * Renewing this host's certificate, long before its end and under the one that it has (POST /renew of the hosts' listener).
 *
 * Nothing is revoked by a renewal: the old certificate is good until its own end, so whatever dies, and whichever answer is lost, comes
 * twice or late, there is one that VStation believes. The new one comes into `host.json` by one rename; until then the old one is there,
 * afterwards the new one, and the key stays. The connection that is up goes on; the next one is made with what is there then.
 *
 * It is due when two thirds of the certificate's time are over, a little earlier by chance, so that hosts that joined together do not come
 * together. One that fails is told in the readiness and tried again, ever more often as the end comes near.
 *
 * Where VStation takes the certificate no more, because the host was taken out or the certificate has ended, only a new token helps: one
 * that a person has put into the token's file is tried once, and what it brings is the host's certificate from then on.
 */
import { X509Certificate } from "node:crypto";
import { readFile } from "node:fs/promises";
import { formatError, isFailure } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { sleep } from "../../lib/retry.ts";
import { joinVstation, renewIdentity, type Identity } from "./identity.ts";

export interface CertificateState {
  readonly ends: Date;
  /** Why the last try to renew it failed. */
  readonly trouble: string | null;
}

export interface RenewalOptions {
  readonly directory: string;
  readonly name: string;
  readonly servers: readonly string[];
  readonly caFingerprint: string;
  readonly identity: Identity;
  readonly log: Log;
  /** A new one is on the disk; or trying to get one failed. */
  readonly onChange: () => void;
}

const dueShare = 2 / 3;
const earlyShare = 0.06;
const longestWaitMs = 3_600_000;
const shortestWaitMs = 1_000;

export class Renewal {
  readonly #options: RenewalOptions;
  readonly #early = Math.random() * earlyShare;
  #identity: Identity;
  #trouble: string | null = null;
  #joining = false;
  /** A token that does not help. */
  #refused: string | null = null;

  constructor(options: RenewalOptions) {
    this.#options = options;
    this.#identity = options.identity;
  }

  get identity(): Identity {
    return this.#identity;
  }

  get state(): CertificateState {
    return { ends: lifeOf(this.#identity).ends, trouble: this.#trouble };
  }

  /** Ends when the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(waitMs(lifeOf(this.#identity), this.#early, Date.now()), signal).catch(() => undefined);
      if (!signal.aborted && isDue(lifeOf(this.#identity), this.#early, Date.now())) await this.#renew();
    }
  }

  async joinAgain(joinTokenFile: string): Promise<void> {
    const { log, onChange } = this.#options;
    if (this.#joining) return;
    this.#joining = true;
    try {
      const token = await readFile(joinTokenFile, "utf8");
      if (token === this.#refused) return;
      try {
        this.#identity = await joinVstation({ ...this.#options, joinTokenFile });
        this.#trouble = null;
        log.info("joined VStation again, by a new token");
        onChange();
      } catch (error) {
        if (!isFailure(error, "unavailable", "timeout")) this.#refused = token;
        throw error;
      }
    } catch (error) {
      log.warn({ reason: formatError(error) }, "could not join VStation again");
    } finally {
      this.#joining = false;
    }
  }

  async #renew(): Promise<void> {
    const { log, onChange } = this.#options;
    try {
      this.#identity = await renewIdentity(this.#options, this.#identity);
      this.#trouble = null;
      log.info({ ends: this.state.ends }, "the host's certificate was renewed");
    } catch (error) {
      this.#trouble = formatError(error);
      log.warn({ ends: this.state.ends, reason: this.#trouble }, "the host's certificate could not be renewed yet");
    }
    onChange();
  }
}

export interface Life {
  readonly begins: Date;
  readonly ends: Date;
}

export function lifeOf({ certificate }: Pick<Identity, "certificate">): Life {
  const { validFrom, validTo } = new X509Certificate(certificate);
  return { begins: new Date(validFrom), ends: new Date(validTo) };
}

export function isDue({ begins, ends }: Life, early: number, now: number): boolean {
  return now >= begins.getTime() + (ends.getTime() - begins.getTime()) * (dueShare - early);
}

/** Until the next look: a part of what is left until it is due, or, when it is, of what is left at all. A clock that jumps costs an hour. */
export function waitMs(life: Life, early: number, now: number): number {
  const left = life.ends.getTime() - now;
  const whole = life.ends.getTime() - life.begins.getTime();
  const wait = isDue(life, early, now) ? left / 10 : left - whole * (1 - dueShare + early);
  return Math.min(longestWaitMs, Math.max(shortestWaitMs, wait));
}
