import { describe, expect, test, vi } from "vitest";
import type { SeenInstance } from "../../api/agent.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { Outbox } from "./outbox.ts";

const a = "ins-aaaaaaaa" as InstanceId;
const b = "ins-bbbbbbbb" as InstanceId;
const seen = (id: InstanceId, generation: number): SeenInstance => ({
  id,
  epoch: 1,
  generation,
  phase: { is: "stopped" },
  disks: [],
});

function outbox(isWhole = true): {
  box: Outbox;
  ready: ReturnType<typeof vi.fn>;
  state: { generation: number; isWhole: boolean };
} {
  const state = { generation: 5, isWhole };
  const ready = vi.fn<() => void>();
  const box = new Outbox({ generation: () => state.generation, isWhole: () => state.isWhole, onReady: ready });
  return { box, ready, state };
}
const ids = (box: Outbox): string[] | undefined => box.take()?.instances.map((one) => one.id);

describe("Outbox", () => {
  test("says everything first, then what changed, one report at a time", () => {
    const { box } = outbox();
    box.set(a, seen(a, 1));
    box.set(b, seen(b, 1));
    expect(box.take()).toMatchObject({ seq: 1, full: true, wantedGeneration: 5, instances: [{ id: a }, { id: b }] });
    box.set(a, seen(a, 2));
    expect(box.take()).toBeNull();
    box.acknowledge(1);
    expect(box.take()).toMatchObject({ seq: 2, full: false, instances: [{ id: a, generation: 2 }] });
    box.acknowledge(2);
    expect(box.take()).toBeNull();
  });

  test("tells again of what could not be sent while the connection was away", async () => {
    const { box, ready } = outbox();
    // Nobody takes a report: there is no connection.
    box.set(a, seen(a, 1));
    await vi.waitFor(() => expect(ready).toHaveBeenCalledTimes(1));
    box.reset();
    await vi.waitFor(() => expect(ready).toHaveBeenCalledTimes(2));
    expect(box.take()).toMatchObject({ full: true, instances: [{ id: a }] });
  });

  test("an answer to an older report is no answer to this one", () => {
    const { box } = outbox();
    box.set(a, seen(a, 1));
    box.take();
    box.acknowledge(1);
    box.set(a, seen(a, 2));
    box.take();
    box.acknowledge(1);
    expect(box.take()).toBeNull();
  });

  test("a report without an answer is made again from what is true then", () => {
    const { box } = outbox();
    box.set(a, seen(a, 1));
    box.take();
    box.acknowledge(1);
    box.set(a, seen(a, 2));
    box.take();
    box.set(a, seen(a, 3));
    box.expire();
    expect(box.take()).toMatchObject({ seq: 3, instances: [{ id: a, generation: 3 }] });
  });

  test("a whole report waits until everything was looked at; changes do not", () => {
    const { box, state } = outbox(false);
    box.set(a, seen(a, 1));
    expect(box.take()).toMatchObject({ full: false });
    box.acknowledge(1);
    state.isWhole = true;
    box.set(b, seen(b, 1));
    expect(box.take()).toMatchObject({ full: true, instances: [{ id: a }, { id: b }] });
  });

  test("what is not here any more is told by a whole report", () => {
    const { box } = outbox();
    box.set(a, seen(a, 1));
    box.set(b, seen(b, 1));
    box.take();
    box.acknowledge(1);
    box.set(a, null);
    expect(box.take()).toMatchObject({ full: true, instances: [{ id: b }] });
  });

  test("a new connection is told everything again", () => {
    const { box } = outbox();
    box.set(a, seen(a, 1));
    box.take();
    box.reset();
    expect(ids(box)).toEqual([a]);
  });

  test("a new wanted generation is told even if no instance changed", () => {
    const { box, state } = outbox();
    box.take();
    box.acknowledge(1);
    expect(box.take()).toBeNull();
    state.generation = 6;
    expect(box.take()).toMatchObject({ wantedGeneration: 6, instances: [] });
  });

  test("many changes in one turn ask for one report", async () => {
    const { box, ready } = outbox();
    box.set(a, seen(a, 1));
    box.set(b, seen(b, 1));
    await Promise.resolve();
    expect(ready).toHaveBeenCalledTimes(1);
  });
});
