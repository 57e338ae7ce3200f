import { createSocket } from "node:dgram";
import { afterEach, describe, expect, test } from "vitest";
import { isFailure } from "../src/lib/errors.ts";
import { beatClock, BeatListener } from "./beat-listener.ts";

describe("BeatListener", { timeout: 30_000 }, () => {
  const sender = createSocket("udp4");
  let listener: BeatListener | undefined;
  afterEach(async () => await listener?.close());

  const send = (port: number, seq: number) => {
    const datagram = Buffer.alloc(48);
    datagram.write("VSBEAT01");
    datagram.writeBigUInt64LE(BigInt(seq), 8);
    sender.send(datagram, port, "127.0.0.1");
  };

  test("tells of the next beat, counts all, and passes over what is none", async () => {
    listener = await BeatListener.open({ host: "127.0.0.1" });
    const before = beatClock();
    const first = listener.next(20_000);
    // Answered after the wish was heard: a beat that is sent before that would not be the next one.
    await listener.report();
    sender.send("noise", listener.port, "127.0.0.1");
    send(listener.port, 1);
    expect((await first).at).toBeGreaterThan(before);
    const second = listener.next(20_000);
    await listener.report();
    send(listener.port, 4);
    await second;
    expect(await listener.report()).toMatchObject({
      received: 2,
      lost: 2,
      bootIds: ["00000000-0000-0000-0000-000000000000"],
    });
    listener.clear();
    expect((await listener.report()).received).toBe(0);
  });

  test("a beat that does not come ends in a timeout, and closing settles who waits", async () => {
    listener = await BeatListener.open({ host: "127.0.0.1" });
    await expect(listener.next(20)).rejects.toSatisfy((error) => isFailure(error, "timeout"));
    const waiting = listener.next(60_000).then(
      () => "a beat",
      (error: unknown) => error,
    );
    await listener.close();
    expect(isFailure(await waiting, "unavailable")).toBe(true);
    await expect(listener.report()).rejects.toSatisfy((error) => isFailure(error, "unavailable"));
  });
});
