import { describe, expect, it } from "vitest";
import { createLog } from "../../lib/log.ts";
import type { ChangeEvent, Events } from "../cloud.ts";
import { Changes } from "./changes.ts";
import { FakeCloud } from "./cloud.fake.ts";

const log = createLog("test");
log.level = "silent";
/** Longer than any test may take: what wakes before it was woken by what the test did. */
const never = 3_600_000;
const open = new AbortController().signal;

describe("a watch", () => {
  it("is woken by the change of its own thing, and by nothing else", async () => {
    const cloud = new FakeCloud();
    const changes = new Changes(cloud.events, log, open, never);
    using one = changes.watch("operation", "op-00000001");
    using other = changes.watch("operation", "op-00000002");
    const woken: string[] = [];
    const first = one.happened(never, open).then(() => woken.push("one"));
    const second = other.happened(never, open).then(() => woken.push("other"));
    cloud.emit("instance", "op-00000001");
    cloud.emit("operation", "op-00000002");
    await second;
    expect(woken).toEqual(["other"]);
    cloud.emit("operation", "op-00000001");
    await first;
    expect(woken).toEqual(["other", "one"]);
  });

  it("knows of a change that came before it was asked", async () => {
    const cloud = new FakeCloud();
    const changes = new Changes(cloud.events, log, open, never);
    using watch = changes.watch("operation", "op-00000001");
    cloud.emit("operation", "op-00000001");
    await until(() => cloud.followers === 1);
    expect(await watch.happened(never, open)).toBeUndefined();
  });

  it("ends with its time, its caller, and the server, and is forgotten", async () => {
    const closing = new AbortController();
    const caller = new AbortController();
    const changes = new Changes(new FakeCloud().events, log, closing.signal, 10);
    {
      using watch = changes.watch("operation", "op-00000001");
      expect(changes.watching).toBe(1);
      await watch.happened(never, open);
    }
    expect(changes.watching).toBe(0);
    const patient = new Changes(new FakeCloud().events, log, closing.signal, never);
    using mine = patient.watch("operation", "op-00000001");
    using theirs = patient.watch("operation", "op-00000002");
    const called = mine.happened(never, caller.signal);
    caller.abort();
    await called;
    const served = theirs.happened(never, open);
    closing.abort();
    expect(await served).toBeUndefined();
  });

  it("is woken after the stream broke and came back, behind what was seen", async () => {
    const cloud = new FakeCloud();
    const asked: (bigint | undefined)[] = [];
    const events: Events = {
      async *follow(since: bigint | undefined, signal: AbortSignal): AsyncIterable<ChangeEvent> {
        asked.push(since);
        for await (const event of cloud.events.follow(since, signal)) {
          yield event;
          if (asked.length === 1) throw new Error("the database went away");
        }
      },
    };
    const changes = new Changes(events, log, open, never);
    using watch = changes.watch("operation", "op-00000001");
    cloud.emit("host", "host-00000001");
    cloud.emit("operation", "op-00000001");
    await watch.happened(never, open);
    expect(asked).toEqual([undefined, 1n]);
  });
});

async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setTimeout(resolve, 2));
}
