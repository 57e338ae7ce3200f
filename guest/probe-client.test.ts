import { createServer, type Server, type Socket } from "node:net";
import { afterEach, describe, expect, test } from "vitest";
import * as z from "zod";
import { Failure, isFailure } from "../src/lib/errors.ts";
import { parseAnswer, ProbeClient } from "./probe-client.ts";

describe("parseAnswer", () => {
  const schema = z.object({ uptimeMs: z.int() });

  test("gives what the schema names", () => {
    expect(parseAnswer('{"ok":true,"uptimeMs":12}', schema)).toEqual({ uptimeMs: 12 });
  });

  test("makes a refusal a conflict that carries the whole answer", () => {
    const refused = () => parseAnswer('{"ok":false,"error":"memory is wrong","firstBadPage":7}', schema);
    expect(refused).toThrow(
      expect.toSatisfy((error: unknown) => isFailure(error, "conflict") && error.detail["firstBadPage"] === 7),
    );
  });

  test.each(["", "ok", "{}", '{"uptimeMs":12}', '{"ok":true}', '{"ok":true,"uptimeMs":"12"}', '{"ok":false}'])(
    "takes %j for no answer",
    (line) => {
      expect(() => parseAnswer(line, schema)).toThrow(
        expect.toSatisfy((error: unknown) => isFailure(error, "internal")),
      );
    },
  );
});

describe("ProbeClient", () => {
  let server: Server | undefined;
  const clients: ProbeClient[] = [];
  afterEach(() => {
    for (const client of clients.splice(0)) client.close();
    server?.close();
  });

  /** A client of a server that does `serve` with each line. */
  const clientOf = async (serve: (socket: Socket, line: string) => void): Promise<ProbeClient> => {
    const listening = createServer((socket) => {
      socket.on("data", (chunk) => {
        for (const line of chunk.toString().split("\n").slice(0, -1)) serve(socket, line);
      });
      socket.on("error", () => socket.destroy());
    });
    server = listening;
    await new Promise<void>((resolve) => {
      listening.listen(0, "127.0.0.1", resolve);
    });
    const address = listening.address();
    if (address === null || typeof address === "string") throw new Error("no port");
    const client = await ProbeClient.connect("127.0.0.1", { port: address.port });
    clients.push(client);
    return client;
  };

  test("gives each question its own answer, however the answers are cut", async () => {
    const client = await clientOf((socket, line) => {
      if (line !== "uptime") return;
      socket.write('{"ok":true,"bo');
      setTimeout(() => socket.write('otId":"a-b"}\n{"ok":true,"uptimeMs":5}\n'), 20);
    });
    expect(await Promise.all([client.bootId(), client.uptimeMs()])).toEqual(["a-b", 5]);
  });

  test("says what it asks in the probe's words", async () => {
    const lines: string[] = [];
    const client = await clientOf((socket, line) => {
      lines.push(line);
      socket.write(
        '{"ok":true,"running":true,"sent":0,"failed":0,"mib":1,"rateMiBps":2,"writtenPages":0,"elapsedUs":0}\n',
      );
    });
    await client.beatStart("10.0.0.1", 9000);
    await client.dirtyStart({ mib: 64, rateMiBps: 100, order: "random" });
    expect(lines).toEqual(["beat start 10.0.0.1 9000 1000", "dirty start 64 100 random"]);
  });

  test("a missed deadline ends the connection, so that a late answer is not taken for the next one", async () => {
    const client = await clientOf(() => {});
    await expect(client.bootId(20)).rejects.toSatisfy((error) => isFailure(error, "timeout"));
    await expect(client.uptimeMs()).rejects.toSatisfy((error) => isFailure(error, "unavailable"));
  });

  test("the end of the connection settles every waiter", async () => {
    const client = await clientOf((socket, line) => {
      if (line === "uptime") socket.destroy();
    });
    const both = await Promise.allSettled([client.bootId(), client.uptimeMs()]);
    for (const one of both) {
      expect(one.status === "rejected" && one.reason instanceof Failure && one.reason.kind).toBe("unavailable");
    }
  });

  test("nobody there is unavailable", async () => {
    const client = await clientOf(() => {});
    client.close();
    const address = server?.address();
    const port = typeof address === "object" && address !== null ? address.port : 1;
    await new Promise((resolve) => server?.close(resolve));
    await expect(ProbeClient.connect("127.0.0.1", { port })).rejects.toSatisfy((error) =>
      isFailure(error, "unavailable"),
    );
  });
});
