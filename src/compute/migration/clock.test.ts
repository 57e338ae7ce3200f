/** When the clock of a guest that has arrived is set, and to what. */
import { expect, test } from "vitest";
import { Failure } from "../../lib/errors.ts";
import { createLog } from "../../lib/log.ts";
import { correctClock } from "./clock.ts";

const start = 1_790_000_000_000;
const domain = { name: "ins-00000001", uuid: "00000000-0000-4000-8000-000000000001", id: -1 };
const wayMs = 4;

/** A guest that is late by so much, and whose agent is there from the given question on. */
async function settle(lateMs: number, agentFrom = 1): Promise<{ set: number; lateMs: number; asked: number }> {
  let now = start;
  let late = lateMs;
  let [set, asked] = [0, 0];
  await correctClock({
    libvirt: {
      timeGet: () => {
        if (++asked < agentFrom) {
          return Promise.reject(new Failure("unavailable", "LibvirtAgentUnresponsive", "no agent is connected"));
        }
        now += wayMs;
        const read = now - late;
        now += wayMs;
        return Promise.resolve(read);
      },
      timeSet: (_, ms) => {
        now += wayMs;
        set++;
        late = now - ms;
        return Promise.resolve();
      },
    },
    domain,
    nowMs: () => now,
    log: createLog("test", { part: "clock" }),
    pause: () => Promise.resolve(),
  });
  return { set, lateMs: late, asked };
}

test("a clock that is late by the pause is put right, the way to the guest counted in", async () => {
  expect(await settle(180)).toEqual({ set: 1, lateMs: 0, asked: 2 });
});

test("a clock that is right, early, or late by more than a pause is left as it is", async () => {
  for (const late of [0, 1, -500, 3_600_000, -3_600_000]) {
    expect(await settle(late)).toEqual({ set: 0, lateMs: late, asked: 1 });
  }
});

test("an agent that is there only after some moments is waited for; one that never comes is given up", async () => {
  expect(await settle(180, 3)).toEqual({ set: 1, lateMs: 0, asked: 4 });
  expect(await settle(180, Infinity)).toEqual({ set: 0, lateMs: 180, asked: 8 });
});
