/** What a benchmark is to the reporter: a name, a run, and a report in one shape for people and programs. */
import type { Summary } from "./statistics.ts";

export interface BenchOptions {
  /** Fewer and smaller cases: ends within 60 s on two cores, and the report says so. */
  readonly quick: boolean;
  /** Measure in this running lab instead of one of the bench's own. */
  readonly home: string | undefined;
  /** Pairs to measure; undefined = the bench's own choice. */
  readonly rounds: number | undefined;
  /** One class of cases only, in a bench that has classes. */
  readonly class: string | undefined;
  /** Of what is compared this alone takes a turn, in a bench that goes in turns. */
  readonly only: string | undefined;
  /** The guests' virtual processors have a core of their own, in a bench that can see to it. */
  readonly pin: boolean;
  readonly signal: AbortSignal;
  /** Progress, for people: standard error. */
  say(line: string): void;
}

export interface Row {
  readonly what: string;
  readonly unit: string;
  readonly summary: Summary;
  /** What it should stay below, where there is an aim. */
  readonly aim?: string;
}

export interface Report {
  readonly params: Readonly<Record<string, unknown>>;
  readonly results: Readonly<Record<string, unknown>>;
  /** The rival's or the floor's figures, of the same call. */
  readonly baseline: Readonly<Record<string, unknown>>;
  /** Ours over the baseline, median of the pairs' ratios. */
  readonly ratio: number;
  /** What the figures' unsteadiness is: spread of the baseline against itself, precision of the clocks. */
  readonly noise: Readonly<Record<string, unknown>>;
  readonly rows: readonly Row[];
  /** Sentences that a reader of the table needs. */
  readonly remarks: readonly string[];
  /** Guests that were lost while they were measured, in a bench that may lose some: with one the bench has failed. */
  readonly vmLost?: number;
}

export interface Bench {
  readonly name: string;
  readonly about: string;
  run(options: BenchOptions): Promise<Report>;
}
