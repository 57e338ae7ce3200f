/**
 * The policy against a guest of a few numbers (how much it changes, how fast, over which link), and against whatever else could be seen.
 * What each policy may never do holds for both.
 */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { unreachable } from "../../lib/errors.ts";
import {
  decideLever,
  defaultCeilingMs,
  migrationPolicies,
  type Lever,
  type Look,
  type MigrationPolicy,
  type Plan,
} from "./policy.ts";
import { replay, type StoryLine } from "./story.ts";

const mib = 2 ** 20;

interface Guest {
  readonly memory: number;
  /** What it changes over and over, and how much of it a second. */
  readonly writes: number;
  readonly dirty: number;
  /** What it would change with all of its processor time; left out: it needs all of it. */
  readonly most?: number;
  readonly link: number;
}

const planOf = (policy: MigrationPolicy, ceilingMs = defaultCeilingMs): Plan => ({ policy, aimMs: 30, ceilingMs });

interface Run {
  readonly lines: readonly StoryLine[];
  readonly levers: readonly Lever[];
  /** null: it is as it was, at the end of patience. */
  readonly end: "switched" | "fetches" | "given up" | null;
  readonly seconds: number;
}

/** Pre-copy as QEMU does it; `change` is what becomes of the guest or the link at a time, in seconds. */
function run(plan: Plan, guest: Guest, change: (seconds: number) => Partial<Guest> = () => ({})): Run {
  let [at, pass, remaining, percent, limitMs] = [0, 1, guest.memory, 0, plan.aimMs];
  const lines: StoryLine[] = [{ is: "began", at, ...plan }];
  const levers: Lever[] = [];
  const end = (how: Run["end"]): Run => ({ lines, levers, end: how, seconds: at / 1_000 });
  const seen: Parameters<typeof decideLever>[1][number][] = [];
  while (at < 3_600_000) {
    const { writes, dirty, link, most = dirty } = { ...guest, ...change(at / 1_000) };
    const changes = Math.min(dirty, most * (1 - percent / 100));
    if (pass > 1 && remaining / link <= limitMs / 1_000) return end("switched");
    const began = at;
    const lengthMs = (remaining / link) * 1_000;
    for (let passMs = Math.min(150, lengthMs / 2); passMs < lengthMs; passMs += 1_000) {
      const left = remaining - (link * passMs) / 1_000;
      const rates = { dirtyBytesPerSecond: changes, bytesPerSecond: link };
      const memory = { totalBytes: guest.memory, remainingBytes: left };
      const look: Look = { is: "look", at: began + passMs, pass, passMs, ...memory, ...rates };
      lines.push(look);
      seen.push(look);
      const decision = decideLever(plan, seen);
      if (decision === null) continue;
      at = look.at;
      const { lever } = decision;
      lines.push({ is: "lever", at, ...decision });
      seen.push({ is: "lever", at, lever });
      levers.push(lever);
      if (lever.pull === "give_up") return end("given up");
      if (lever.pull === "postcopy") return end("fetches");
      if (lever.pull === "throttle") ({ percent } = lever);
      else ({ limitMs } = lever);
    }
    at = began + lengthMs;
    const changed = (changes * lengthMs) / 1_000;
    remaining = writes * (1 - Math.exp(-changed / writes));
    pass++;
  }
  return end(null);
}

const calm: Guest = { memory: 512 * mib, writes: 64 * mib, dirty: 2 * mib, link: 100 * mib };
/** It settles where a pass takes as long as the guest takes to change what it copies. */
const slightlyTooFast: Guest = { memory: 512 * mib, writes: 4_096 * mib, dirty: 105 * mib, link: 100 * mib };
const farTooFast: Guest = { memory: 512 * mib, writes: 48 * mib, dirty: 5_000 * mib, link: 100 * mib };

describe("a guest", () => {
  it.each(migrationPolicies)("that is calm is moved without a lever: %s", (policy) => {
    expect(run(planOf(policy), calm)).toMatchObject({ end: "switched", levers: [] });
  });

  it("that writes too fast stays where it is by gentle, and nothing was done to it", () => {
    const { end, levers, lines } = run(planOf("gentle"), farTooFast);
    expect({ end, levers }).toEqual({ end: "given up", levers: [{ pull: "give_up" }] });
    const why = lines.findLast((line) => line.is === "lever")?.why;
    expect(why).toMatch(
      /the guest changes 5000 MiB\/s of its memory and 100 MiB\/s can be sent; .*--policy finish --ceiling 500/,
    );
  });

  it("that would need a longer pause than anybody may allow is not told of one", () => {
    const tooMuch = { ...farTooFast, memory: 16_384 * mib, writes: 8_192 * mib };
    for (const policy of ["gentle", "finish"] as const) {
      const { end, lines } = run(planOf(policy), tooMuch);
      expect(end).toBe("given up");
      const why = lines.findLast((line) => line.is === "lever")?.why ?? "";
      expect(why).toContain("Move it when it is quieter");
      expect(why).not.toContain("ceiling");
    }
  });

  it("that has a quiet moment is moved in it by gentle", () => {
    const quiet = (seconds: number) => (seconds > 45 && seconds < 60 ? { dirty: mib } : {});
    expect(run(planOf("gentle"), farTooFast, quiet)).toMatchObject({ end: "switched", levers: [] });
  });

  it("that writes a little too fast is slowed at once as far as it needs, and moved", () => {
    const { end, levers } = run(planOf("throttle"), slightlyTooFast);
    expect({ end, levers }).toEqual({ end: "switched", levers: [{ pull: "throttle", percent: 30 }] });
  });

  it("that has processor time left is slowed further until it writes less, and moved", () => {
    const paced = { ...slightlyTooFast, dirty: 150 * mib, most: 400 * mib };
    const { end, levers } = run(planOf("throttle"), paced);
    expect({ end, levers }).toEqual({
      end: "switched",
      levers: [50, 90].map((percent) => ({ pull: "throttle", percent })),
    });
  });

  it("that is no better for being slowed is not slowed any more, and stays", () => {
    const { end, levers } = run(planOf("throttle"), farTooFast);
    expect(end).toBe("given up");
    expect(levers).toEqual([...[90, 0].map((percent) => ({ pull: "throttle", percent })), { pull: "give_up" }]);
  });

  it("is slowed more by finish, let go again where that was for nothing, and paused for as long as it takes", () => {
    const { end, levers } = run(planOf("finish", 2_000), farTooFast);
    expect(end).toBe("switched");
    expect(levers).toEqual([
      ...[80, 0].map((percent) => ({ pull: "throttle", percent })),
      { pull: "pause", limitMs: 528 },
    ]);
  });

  it("goes on at the target by postcopy once no pass comes closer, unslowed, and not before the first pass is over", () => {
    const { end, levers, lines } = run(planOf("postcopy"), farTooFast);
    expect({ end, levers }).toEqual({ end: "fetches", levers: [{ pull: "postcopy" }] });
    expect(lines.findLast((line) => line.is === "look")?.pass).toBeGreaterThan(1);
  });

  it("that is large and changes more than is sent is not copied three times before something is done about it", () => {
    const large = { memory: 4_096 * mib, writes: 4_096 * mib, dirty: 900 * mib, link: 200 * mib };
    const { end, seconds } = run(planOf("postcopy"), large);
    expect(end).toBe("fetches");
    // Two passes, and a look behind them.
    expect(seconds).toBeLessThan(45);
  });

  it("stays by postcopy where the rest would take long to fetch, and where the switch failed it is not tried again", () => {
    const slow = { ...farTooFast, memory: 8_192 * mib, writes: 4_096 * mib };
    expect(run(planOf("postcopy"), slow)).toMatchObject({ end: "given up", levers: [{ pull: "give_up" }] });
    const { lines } = run(planOf("postcopy"), farTooFast);
    const looks = lines.filter((line) => line.is === "look");
    const failed: Parameters<typeof decideLever>[1][number][] = [
      ...looks,
      { is: "lever", at: looks.at(-1)?.at ?? 0, lever: { pull: "postcopy" } },
    ];
    const levers: Lever[] = [];
    for (let second = 1; second < 200 && levers.length === 0; second++) {
      const last = looks.at(-1);
      if (last === undefined) throw new Error("there is none");
      failed.push({ ...last, at: last.at + second * 1_000, pass: last.pass + second });
      const decision = decideLever(planOf("postcopy"), failed);
      if (decision !== null) levers.push(decision.lever);
    }
    expect(levers).toEqual([{ pull: "give_up" }]);
  });

  it("is paused no longer than the ceiling says, and stays where that is not enough", () => {
    const { end, levers } = run(planOf("finish"), farTooFast);
    expect(end).toBe("given up");
    expect(levers.slice(-2)).toEqual([{ pull: "pause", limitMs: 300 }, { pull: "give_up" }]);
  });

  it("that begins to write in the middle is slowed then", () => {
    const storm = (seconds: number) => (seconds < 40 ? { dirty: 103 * mib } : { dirty: 120 * mib, writes: 90 * mib });
    const { levers } = run(planOf("throttle"), { ...slightlyTooFast, memory: 4_096 * mib }, storm);
    expect(levers[0]).toEqual({ pull: "throttle", percent: 50 });
  });
});

it("pulls nothing while the link falters, and takes a link that stays slow for what it is", () => {
  const faltering = (seconds: number) => (seconds > 8 ? { link: 5 * mib } : {});
  const { lines } = run(planOf("throttle"), { ...farTooFast, writes: 400 * mib }, faltering);
  const levers = lines.filter((line) => line.is === "lever");
  // It was a matter of seconds, and then of more than that.
  expect(levers[0]?.at).toBeGreaterThan(8_000 + 10_000);
  const steady = run(planOf("throttle"), { ...farTooFast, writes: 400 * mib }).lines;
  expect(steady.find((line) => line.is === "lever")?.at).toBeLessThan(18_000);
});

const anyLine = fc.record({
  after: fc.integer({ min: 1, max: 20_000 }),
  passes: fc.integer({ min: 0, max: 3 }),
  passMs: fc.integer({ min: 0, max: 30_000 }),
  remaining: fc.integer({ min: 0, max: 2 ** 34 }),
  dirty: fc.integer({ min: 0, max: 2 ** 32 }),
  rate: fc.integer({ min: 0, max: 2 ** 32 }),
});

/** `percent`: by how much it is slowed already. */
function isAllowed({ policy, ceilingMs }: Plan, lever: Lever, percent: number): boolean {
  switch (lever.pull) {
    case "throttle": {
      const most = { gentle: -1, postcopy: -1, throttle: 90, finish: 80 }[policy];
      return lever.percent <= most && (lever.percent === 0 || lever.percent > percent);
    }
    case "pause":
      return policy === "finish" && lever.limitMs <= ceilingMs;
    case "postcopy":
      return policy === "postcopy";
    case "give_up":
      return true;
    default:
      return unreachable(lever);
  }
}

it("keeps each policy's promise whatever is seen, and says the same again from the story", () => {
  const anyPlan = fc.record({
    policy: fc.constantFrom(...migrationPolicies),
    ceilingMs: fc.integer({ min: 10, max: 60_000 }),
  });
  fc.assert(
    fc.property(anyPlan, fc.array(anyLine, { maxLength: 120 }), ({ policy, ceilingMs }, seconds) => {
      const plan = planOf(policy, ceilingMs);
      const lines: StoryLine[] = [{ is: "began", at: 0, ...plan }];
      let [at, pass, last, percent] = [0, 1, -Infinity, 0];
      for (const { after, passes, passMs, remaining, dirty, rate } of seconds) {
        at += after;
        pass += passes;
        const rates = { dirtyBytesPerSecond: dirty, bytesPerSecond: rate };
        const look: Look = { is: "look", at, pass, passMs, totalBytes: 2 ** 34, remainingBytes: remaining, ...rates };
        lines.push(look);
        const seen = lines.filter((line) => line.is === "look" || line.is === "lever");
        const decision = decideLever(plan, seen);
        if (decision === null) continue;
        const { lever } = decision;
        lines.push({ is: "lever", at, ...decision });
        // One lever a window.
        expect(at - last).toBeGreaterThanOrEqual(10_000);
        expect({ lever, allowed: isAllowed(plan, lever, percent) }).toEqual({ lever, allowed: true });
        last = at;
        if (lever.pull === "throttle") ({ percent } = lever);
        if (lever.pull === "give_up") break;
      }
      const answers = replay(lines) ?? [];
      expect(answers).toHaveLength(lines.filter(({ is }) => is === "look").length);
      for (const { then, now } of answers) expect(now).toEqual(then);
    }),
  );
});
