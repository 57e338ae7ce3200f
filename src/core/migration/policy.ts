/**
 * What is done about a guest that changes its memory faster than it can be copied: a pure function from what was seen and done so far
 * to the next lever, or none. Compute asks it at each look at the copy (compute/migration/watch.ts) and writes what it was shown and what
 * it answered into the story (story.ts), from which every decision can be made again.
 *
 * The rules. QEMU switches over by itself as soon as the rest fits into the allowed pause, so as long as the best pass of a window
 * beats the best one of the window before, nothing is done. Where it does not, one lever is pulled, the least harmful that the
 * policy has left, and then a whole window is waited for its effect. A lever whose effect was nothing is undone before one of
 * another kind is pulled. While the link itself falters nothing is pulled: a lever cannot mend it.
 *
 * Passes are compared, not moments: within a pass what remains goes up and down like a saw, and says nothing.
 */
export const migrationPolicies = ["gentle", "throttle", "postcopy", "finish"] as const;
export type MigrationPolicy = (typeof migrationPolicies)[number];

/** QEMU's own default for a pause, and the most that `finish` takes without being told. */
export const defaultCeilingMs = 300;
/** What may be asked for. */
export const ceilingBoundsMs = { least: 10, most: 60_000 } as const;

/** What is settled when the copy begins. */
export interface Plan {
  readonly policy: MigrationPolicy;
  /** QEMU switches over when it expects the rest to take no longer. */
  readonly aimMs: number;
  /** `finish` lets the pause grow up to this. */
  readonly ceilingMs: number;
}

export type Lever =
  /** The guest's processors rest this share of the time; 0: not at all. */
  | { readonly pull: "throttle"; readonly percent: number }
  /** QEMU may take this long for the rest. */
  | { readonly pull: "pause"; readonly limitMs: number }
  /** The guest goes on at the target at once, and fetches there what it has not got yet. There is no way back. */
  | { readonly pull: "postcopy" }
  /** The copy ends, and the guest stays where it is. */
  | { readonly pull: "give_up" };

/** The copy at one moment. Milliseconds since 1970 by a clock that only goes forward; bytes. */
export interface Look {
  readonly is: "look";
  readonly at: number;
  readonly pass: number;
  /** Since the pass began. */
  readonly passMs: number;
  readonly totalBytes: number;
  readonly remainingBytes: number;
  readonly dirtyBytesPerSecond: number;
  readonly bytesPerSecond: number;
}

export interface Pulled {
  readonly is: "lever";
  readonly at: number;
  readonly lever: Lever;
}

/** In the order in which they came. */
export type Seen = Look | Pulled;

export interface Decision {
  readonly lever: Lever;
  /** In words, for the story. */
  readonly why: string;
}

/** Less than this is no progress. */
const gainAtLeast = 0.04;
/**
 * A window is so many passes long, within bounds, but never less than one: one pass says little, and a fast link makes many in no time. Of a guest that changes more than is
 * sent no pass comes closer until that changes, and one pass says so, before the first lever.
 */
const windowPasses = 3;
const shortestWindowMs = 10_000;
const longestWindowMs = 40_000;
/** The share of the link's usual rate below which the link is suspected, not the guest. */
const falteringShare = 0.2;
/** What the usual rate is taken from: after half of it a link that became slow for good is taken for what it is. */
const usualMs = 30_000;
/** A guest in post-copy needs both hosts for so long: with more than that it is not begun. */
export const longestFetchMs = 30_000;
/** Beside three times the time that one copy of the memory took, and for as long as levers are left or passes come closer. */
const patienceMs = 60_000;
/** Passes come closer by a fifth each when the guest changes so much of what is sent. */
const closing = 0.8;

const steps: Readonly<Record<MigrationPolicy, readonly number[]>> = {
  gentle: [],
  throttle: [10, 20, 30, 50, 70, 90],
  // The switch to post-copy is its only lever.
  postcopy: [],
  finish: [20, 40, 60, 80],
};

/** The brake must be armed when the copy begins: it cannot be added later. */
export function brakes(policy: MigrationPolicy): boolean {
  return steps[policy].length > 0;
}

/** Post-copy must be meant when the copy begins, by both hosts. */
export function mayFetch(policy: MigrationPolicy): boolean {
  return policy === "postcopy";
}

/** By this policy the pause may come to be longer than is aimed at. */
export function pauseGrows(policy: MigrationPolicy): boolean {
  return policy === "finish";
}

/** What the pause grows to from so much, where the rest takes so long. */
export function longerPauseMs(needMs: number, limitMs: number, { ceilingMs }: Pick<Plan, "ceilingMs">): number {
  return Math.min(ceilingMs, Math.ceil(Math.max(needMs * 1.1, limitMs * 2)));
}

/** The share of the time, in percent, that a guest's processors may be made to rest. */
export function slowsBy(policy: MigrationPolicy): number {
  return steps[policy].at(-1) ?? 0;
}

/** What is to be pulled after this look, the last of `seen`. Total, and without memory: it is all in `seen`. */
export function decideLever(plan: Plan, seen: readonly Seen[]): Decision | null {
  const looks = seen.filter((one) => one.is === "look");
  const now = looks.at(-1);
  if (now === undefined) return null;
  const passes = passesOf(looks);
  const [bulk, second] = passes;
  const rate = usualRate(looks, now.at);
  if (bulk === undefined || second === undefined || rate === 0) return null;
  if (now.bytesPerSecond < rate * falteringShare) return null;
  const { percent, limitMs, pulledAt, brakedFrom, switched } = inForce(plan, seen);
  // What a lever does shows some passes later.
  const isHopeless = pulledAt === null && now.dirtyBytesPerSecond >= rate;
  const windowMs = windowOf(now, passes, isHopeless ? 1 : windowPasses);
  const boundary = now.at - windowMs;
  if (boundary < (pulledAt ?? second.at)) return null;
  const within = (from: number, to: number): number | null =>
    lowest(passes.filter(({ pass, at }) => pass > bulk.pass && at >= from && at < to));
  const newer = within(boundary, Infinity);
  const older = within(boundary - windowMs, boundary);
  if (newer === null || older === null || isGain(older, newer)) return null;
  const needMs = (newer / rate) * 1_000;
  // It is a matter of moments.
  if (needMs <= limitMs) return null;
  const sight = { needMs, limitMs, now, rate };
  const next = nextStep(plan.policy, percent, sight);
  const released = percent === 0 && brakedFrom !== null;
  if (next !== undefined && !released) {
    return { lever: { pull: "throttle", percent: next }, why: stalledText(sight) };
  }
  if (percent > 0 && brakedFrom !== null) {
    const before = within(brakedFrom - windowMs, brakedFrom) ?? lastBefore(passes, brakedFrom);
    if (before === null || !isGain(before, newer)) {
      return { lever: { pull: "throttle", percent: 0 }, why: "slowing the guest did not help" };
    }
  }
  if (pauseGrows(plan.policy) && limitMs < plan.ceilingMs) {
    return { lever: { pull: "pause", limitMs: longerPauseMs(needMs, limitMs, plan) }, why: stalledText(sight) };
  }
  // Should it not have worked nothing is left to be done.
  if (mayFetch(plan.policy) && !switched && needMs <= longestFetchMs) {
    return { lever: { pull: "postcopy" }, why: stalledText(sight) };
  }
  // The first pass over the memory tells how long a copy of it takes.
  if (now.at < second.at + 3 * (second.at - bulk.at) + patienceMs) return null;
  return { lever: { pull: "give_up" }, why: giveUpText(plan, sight) };
}

/**
 * The least step by which passes should come closer, were the guest slowed in proportion; one of those above what is in force. A guest whose
 * processors have time left is slowed by less, and then there is a next one.
 */
function nextStep(policy: MigrationPolicy, percent: number, { now, rate }: Sight): number | undefined {
  const left = steps[policy].filter((step) => step > percent);
  const unbraked = now.dirtyBytesPerSecond / (1 - percent / 100);
  const enough = 100 * (1 - (closing * rate) / unbraked);
  return left.find((step) => step >= enough) ?? left.at(-1);
}

interface Pass {
  readonly pass: number;
  readonly at: number;
  /** When it began. */
  readonly remainingBytes: number;
}

/** One of each that was seen, as it began: what was sent of it since is counted back. */
function passesOf(looks: readonly Look[]): Pass[] {
  const passes: Pass[] = [];
  for (const { pass, at, passMs, remainingBytes, bytesPerSecond } of looks) {
    if (pass === passes.at(-1)?.pass) continue;
    passes.push({ pass, at: at - passMs, remainingBytes: remainingBytes + (bytesPerSecond * passMs) / 1_000 });
  }
  return passes;
}

function windowOf(now: Look, passes: readonly Pass[], long: number): number {
  const [last, one] = [passes.at(-1), passes.at(-2)];
  const lengths = [now.passMs];
  if (last !== undefined && one !== undefined) lengths.push((last.at - one.at) / (last.pass - one.pass));
  const length = Math.max(...lengths);
  // Whole passes, however long they are: of a part of one nothing is known.
  return Math.max(length, Math.min(longestWindowMs, Math.max(shortestWindowMs, long * length)));
}

/** The median, so that neither a burst nor a break is taken for the link's. */
function usualRate(looks: readonly Look[], now: number): number {
  const rates = looks.filter(({ at }) => at >= now - usualMs).map((look) => look.bytesPerSecond);
  return rates.toSorted((a, b) => a - b)[Math.floor(rates.length / 2)] ?? 0;
}

/** `brakedFrom`: when the guest was slowed first; it stays known after it is not any more. */
function inForce(
  plan: Plan,
  seen: readonly Seen[],
): { percent: number; limitMs: number; pulledAt: number | null; brakedFrom: number | null; switched: boolean } {
  let [percent, limitMs] = [0, plan.aimMs];
  let [pulledAt, brakedFrom]: (number | null)[] = [null, null];
  for (const one of seen) {
    if (one.is !== "lever") continue;
    pulledAt = one.at;
    if (one.lever.pull === "pause") ({ limitMs } = one.lever);
    if (one.lever.pull === "throttle") {
      ({ percent } = one.lever);
      brakedFrom ??= one.at;
    }
  }
  const switched = seen.some((one) => one.is === "lever" && one.lever.pull === "postcopy");
  return { percent, limitMs, pulledAt: pulledAt ?? null, brakedFrom: brakedFrom ?? null, switched };
}

function lastBefore(passes: readonly Pass[], at: number): number | null {
  return passes.findLast((pass) => pass.at < at)?.remainingBytes ?? null;
}

function lowest(passes: readonly Pass[]): number | null {
  return passes.length === 0 ? null : Math.min(...passes.map((pass) => pass.remainingBytes));
}

function isGain(before: number, after: number): boolean {
  return after <= before * (1 - gainAtLeast);
}

interface Sight {
  readonly needMs: number;
  readonly limitMs: number;
  readonly now: Look;
  readonly rate: number;
}

function stalledText({ needMs, limitMs }: Sight): string {
  return `no pass came closer: it would pause for ${Math.ceil(needMs)} ms, and ${limitMs} ms are allowed`;
}

function giveUpText({ policy, ceilingMs }: Plan, sight: Sight): string {
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20)} MiB/s`;
  const rates = `the guest changes ${mib(sight.now.dirtyBytesPerSecond)} of its memory and ${mib(sight.rate)} can be sent`;
  const enough = Math.ceil(sight.needMs / 50) * 50;
  const pauses = enough <= ceilingBoundsMs.most ? `\`--policy finish --ceiling ${enough}\`` : null;
  const ways: Readonly<Record<MigrationPolicy, readonly (string | null)[]>> = {
    gentle: ["`--policy throttle` slows it meanwhile", pauses === null ? null : `${pauses} also lets it pause longer`],
    throttle: [pauses === null ? null : `${pauses} also lets it pause longer`],
    postcopy: [
      `what remains would take longer than ${longestFetchMs / 1_000} s to be fetched, or the switch failed`,
      pauses === null ? null : `${pauses} slows it and lets it pause longer`,
    ],
    finish: [pauses === null ? null : `a ceiling above ${ceilingMs} ms lets it pause longer`],
  };
  const others = ways[policy].filter((way) => way !== null);
  const otherwise = others.length === 0 ? "" : `, or otherwise: ${others.join(", ")}`;
  return `${rates}; ${stalledText(sight)}. Move it when it is quieter${otherwise}`;
}
