/** Whoever asks gets a run that began no earlier than that, and no more runs are made than it takes. */
import { expect, it } from "vitest";
import { Rounds } from "./rounds.ts";

/** Work whose runs end when the test says so. */
function work() {
  const runs: PromiseWithResolvers<void>[] = [];
  const all = new Rounds(() => {
    const run = Promise.withResolvers<void>();
    runs.push(run);
    return run.promise;
  });
  return { all, runs };
}

it("is done at once, and has nothing left when it is over", async () => {
  const { all, runs } = work();
  expect(all.last).toBeNull();
  const done = all.request();
  expect(runs).toHaveLength(1);
  runs[0]?.resolve();
  await done;
  expect(all.last).toBeNull();
});

it("is done once more, and only once, for all who ask while it is under way", async () => {
  const { all, runs } = work();
  const first = all.request();
  let over = false;
  const more = [all.request(), all.request()].map((one) => one.then(() => (over = true)));
  const { last } = all;
  // Asked when the one under way has just ended: what is about to begin is new enough.
  const late = runs[0]?.promise.then(() => undefined).then(() => all.request());
  runs[0]?.resolve();
  await first;
  expect(over).toBe(false);
  await expect.poll(() => runs.length).toBe(2);
  runs[1]?.resolve();
  await Promise.all([...more, last, late]);
  expect(runs).toHaveLength(2);
  expect(all.last).toBeNull();
});

it("goes on after one that failed, which only those hear of who asked for it", async () => {
  const { all, runs } = work();
  const first = all.request();
  const second = all.request();
  runs[0]?.reject(new Error("away"));
  await expect(first).rejects.toThrow("away");
  await expect.poll(() => runs.length).toBe(2);
  runs[1]?.resolve();
  await second;
  const third = all.request();
  runs[2]?.resolve();
  await third;
});
