import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { NativeClient } from "../../api/native/client.ts";
import { EventParser, followChanges, type Followed } from "../../api/native/follow.ts";
import { problemSchema } from "../../api/native/problem.ts";
import { served, type Served } from "./served.fake.ts";

let api: Served;
afterEach(async () => api[Symbol.asyncDispose]());

const stop = (): AbortController => new AbortController();

async function take(stream: AsyncIterator<Followed>, count: number): Promise<string[]> {
  const items: string[] = [];
  while (items.length < count) {
    const { value, done } = await stream.next();
    if (done === true) break;
    items.push(value.is === "live" ? "live" : `${value.event.id} ${value.event.subjectId}`);
  }
  return items;
}

describe("the event stream", () => {
  it("says that it is live, then each change with its id", async () => {
    api = await served();
    api.cloud.emit("instance", "ins-00000001");
    const abort = stop();
    const stream = followChanges(api.client, { signal: abort.signal });
    expect(await take(stream, 1)).toEqual(["live"]);
    api.cloud.emit("instance", "ins-00000002");
    api.cloud.emit("operation", "op-00000003");
    expect(await take(stream, 2)).toEqual(["2 ins-00000002", "3 op-00000003"]);
    abort.abort();
    expect((await stream.next()).done).toBe(true);
  });

  it("resumes behind the last one that was seen, through any number of breaks", async () => {
    api = await served();
    const abort = stop();
    const breaks: unknown[] = [];
    const stream = followChanges(api.client, { signal: abort.signal, onBreak: (error) => breaks.push(error) });
    await take(stream, 1);
    for (let round = 0; round < 3; round++) {
      api.cloud.emit("instance", `ins-0000000${round}`);
      expect(await take(stream, 1)).toEqual([`${round * 2 + 1} ins-0000000${round}`]);
      api.cut();
      api.cloud.emit("host", `host-000000${round}0`);
      // Live again, and what was said while nobody listened.
      expect(await take(stream, 2)).toEqual(["live", `${round * 2 + 2} host-000000${round}0`]);
    }
    expect(breaks.length).toBeGreaterThan(0);
    abort.abort();
  });

  it("resumes by Last-Event-ID as browsers send it", async () => {
    api = await served();
    for (let i = 1; i <= 3; i++) api.cloud.emit("instance", `ins-0000000${i}`);
    const response = await api.raw("GET", "/v1/events", { headers: { "last-event-id": "1" } });
    expect(response.headers.get("content-type")).toContain("text/event-stream");
    const text = await readUntil(response, "ins-00000003");
    expect(text).toContain("id: 2\nevent: change\ndata: ");
    expect(text).not.toContain("ins-00000001");
    for (const bad of ["x", "-1", "9".repeat(19), "1".repeat(20)]) {
      const refused = await api.raw("GET", "/v1/events", { headers: { "last-event-id": bad } });
      expect(problemSchema.parse(await refused.json()).status).toBe(400);
    }
  });

  it("filters by subject and by id", async () => {
    api = await served();
    api.cloud.emit("host", "host-00000000");
    const response = await api.raw("GET", "/v1/events?subject=instance&subjectId=ins-00000002", {
      headers: { "last-event-id": "0" },
    });
    api.cloud.emit("instance", "ins-00000001");
    api.cloud.emit("operation", "op-00000002");
    api.cloud.emit("instance", "ins-00000002");
    const text = await readUntil(response, "ins-00000002");
    expect(text.match(/^event:/gm)).toHaveLength(1);
  });

  it("says that it lives while nothing happens", async () => {
    api = await served(20);
    const response = await api.raw("GET", "/v1/events");
    expect(await readUntil(response, ": beat\n\n: beat")).toContain(": live");
  });

  it("notices a stream that fell silent, and comes back", async () => {
    api = await served(60_000);
    const abort = stop();
    const breaks: unknown[] = [];
    const options = { signal: abort.signal, silenceMs: 100, onBreak: (error: unknown) => breaks.push(error) };
    const stream = followChanges(api.client, options);
    expect(await take(stream, 2)).toEqual(["live", "live"]);
    expect(breaks).toMatchObject([{ kind: "timeout" }]);
    abort.abort();
  });

  it("lets go of the cloud when the client goes, and ends when the server closes", async () => {
    api = await served();
    const abort = stop();
    const stream = followChanges(api.client, { signal: abort.signal });
    await take(stream, 1);
    const response = await api.raw("GET", "/v1/events");
    // One follower is the server's own, for long polls.
    await until(() => api.cloud.followers === 3);
    abort.abort();
    await stream.next();
    await until(() => api.cloud.followers === 2);
    api.closing.abort();
    expect(await response.text()).toContain(": live");
    await until(() => api.cloud.followers === 0);
  });

  it("gives up at once when the token is wrong", async () => {
    api = await served();
    const stranger = new NativeClient({ endpoint: api.endpoint, token: "wrong" });
    await expect(followChanges(stranger, { signal: stop().signal }).next()).rejects.toMatchObject({
      kind: "unauthenticated",
    });
  });
});

describe("the parser", () => {
  const event = { id: "7", at: "2026-01-02T03:04:05.000Z", subject: "instance", subjectId: "ins-00000001" };
  const wire = `retry: 1000\n: live\n\nid: 7\nevent: change\ndata: ${JSON.stringify(event)}\n\n: beat\n\n`;

  it("gives the same whatever way the bytes are cut", async () => {
    api = await served();
    const bytes = new TextEncoder().encode(wire.repeat(3));
    fc.assert(
      fc.property(fc.array(fc.nat(bytes.length), { maxLength: 20 }), (cuts) => {
        const parser = new EventParser();
        const items: Followed[] = [];
        let from = 0;
        for (const to of [...cuts, bytes.length].toSorted((a, b) => a - b)) {
          items.push(...parser.push(bytes.subarray(from, to)));
          from = to;
        }
        expect(items).toEqual([{ is: "live" }, ...Array.from({ length: 3 }, () => ({ is: "change", event }))]);
      }),
    );
  });

  it("refuses a stream that is not ours before it fills the memory", async () => {
    api = await served();
    const parser = new EventParser();
    const flood = (): void => {
      for (let i = 0; i < 100; i++) parser.push(new TextEncoder().encode("x".repeat(1024)));
    };
    expect(flood).toThrow(/none of VStation's/);
  });
});

async function readUntil(response: Response, what: string): Promise<string> {
  let text = "";
  const decoder = new TextDecoder();
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.includes(what)) return text;
  }
  throw new Error(`the stream ended before ${what}: ${text}`);
}

async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setTimeout(resolve, 2));
}
