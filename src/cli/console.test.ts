import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PassThrough } from "node:stream";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { fakeToken } from "../vstation/native/cloud.fake.ts";
import { fakeImage } from "../vstation/native/images.fake.ts";
import { served, type Served } from "../vstation/native/served.fake.ts";
import type { Io } from "./io.ts";
import { runCli } from "./program.ts";
import { escapeByte, typed } from "./terminal.ts";

let api: Served;
let home: string;
let id: string;
beforeEach(async () => {
  api = await served();
  home = mkdtempSync(join(tmpdir(), "vstation-cli-"));
  writeFileSync(
    join(home, "credentials.json"),
    JSON.stringify({ nativeEndpoint: api.endpoint, nativeToken: fakeToken }),
  );
  const request = { instanceType: "T1.SMALL1", imageId: fakeImage, name: "a" };
  id = (await api.client.call("instanceRun", { request })).instanceIds[0] ?? "";
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
  rmSync(home, { recursive: true });
});

/** A terminal that a test types at and reads from. */
class Terminal {
  readonly stdin: PassThrough & { isTTY?: boolean; setRawMode?: (raw: boolean) => void };
  readonly modes: boolean[] = [];
  shown = "";
  said = "";
  readonly done: Promise<number>;
  readonly #interrupt = new AbortController();

  constructor(tty: boolean, line: string) {
    this.stdin = new PassThrough();
    if (tty) Object.assign(this.stdin, { isTTY: true, setRawMode: (raw: boolean) => void this.modes.push(raw) });
    const stdout = new PassThrough();
    stdout.on("data", (data: Buffer) => void (this.shown += data.toString("latin1")));
    const io: Io = {
      out: (text) => void (this.shown += text),
      err: (text) => void (this.said += text),
      outIsTty: tty,
      errIsTty: tty,
      stdin: this.stdin as unknown as NodeJS.ReadStream,
      stdout: stdout as unknown as NodeJS.WriteStream,
      env: {},
      signal: this.#interrupt.signal,
      now: () => 0,
      confirm: () => Promise.resolve(undefined),
    };
    this.done = runCli(["--home", home, ...line.split(" ")], io);
  }

  type(text: string): void {
    this.stdin.write(Buffer.from(text, "latin1"));
  }

  interrupt(): void {
    this.#interrupt.abort(new Error("SIGINT"));
  }
}

const consoleAt = (index: number): { pushed: (text: string) => void; written: () => string; end: () => void } => {
  const session = api.cloud.consoles[index];
  if (session === undefined) throw new Error(`there is no console ${index}`);
  return {
    pushed: (text) => session.push(text),
    written: () => Buffer.concat(session.written).toString("latin1"),
    end: () => session.close(),
  };
};

describe("the console at a terminal", () => {
  it("shows the past, passes every key but the escape, and gives the terminal back", async () => {
    const terminal = new Terminal(true, "instance console a");
    await until(() => terminal.shown.includes("login: "));
    terminal.type("root\x03\r");
    await until(() => consoleAt(0).written() === "root\x03\r");
    terminal.type(`ls${String.fromCharCode(escapeByte)}never`);
    expect(await terminal.done).toBe(0);
    expect(consoleAt(0).written()).toBe("root\x03\rls");
    expect(terminal.modes).toEqual([true, false]);
    await until(() => api.cloud.consoles[0]?.closed === true);
  });

  it("comes back when the guest restarts, without a hole and without a word twice", async () => {
    const terminal = new Terminal(true, "instance console a");
    await until(() => terminal.shown.includes("login: "));
    consoleAt(0).end();
    // What the guest writes while nobody is connected is in its log only.
    api.cloud.consoleData = Buffer.from("Booting...\r\nlogin: rebooting\r\n");
    await until(() => api.cloud.consoles.length === 2);
    await until(() => terminal.shown.includes("rebooting"));
    consoleAt(1).pushed("login again: ");
    await until(() => terminal.shown.includes("login again: "));
    expect(terminal.shown).toBe("Booting...\r\nlogin: rebooting\r\nlogin again: ");
    terminal.type("\x1d");
    expect(await terminal.done).toBe(0);
  });

  it("waits for a stopped instance by its events, and can be left meanwhile", async () => {
    const terminal = new Terminal(true, "instance console a");
    await until(() => terminal.shown.includes("login: "));
    const instance = api.cloud.allInstances[0];
    if (instance === undefined) throw new Error("no instance");
    instance.state = "STOPPED";
    consoleAt(0).end();
    await until(() => terminal.said.includes(`${id} is STOPPED`));
    expect(api.cloud.consoles.length).toBe(1);
    instance.state = "RUNNING";
    api.cloud.emit("instance", id);
    await until(() => api.cloud.consoles.length === 2);
    instance.state = "STOPPED";
    consoleAt(1).end();
    await until(() => terminal.said.split("is STOPPED").length === 3);
    terminal.type("\x1d");
    expect(await terminal.done).toBe(0);
  });

  it("leaves when the instance is gone", async () => {
    const terminal = new Terminal(true, "instance console a");
    await until(() => terminal.shown.includes("login: "));
    api.cloud.allInstances.length = 0;
    consoleAt(0).end();
    expect(await terminal.done).toBe(0);
    expect(terminal.said).toContain(`${id} is gone`);
    expect(terminal.modes).toEqual([true, false]);
  });

  it("survives a cut connection", async () => {
    const terminal = new Terminal(true, "instance console a");
    await until(() => terminal.shown.includes("login: "));
    api.cut();
    await until(() => terminal.said.includes("connected again"));
    terminal.type("x");
    await until(() => consoleAt(1).written() === "x");
    terminal.type("\x1d");
    expect(await terminal.done).toBe(0);
  });

  it("ends when interrupted, with the terminal given back", async () => {
    const terminal = new Terminal(true, "instance console a");
    await until(() => terminal.shown.includes("login: "));
    terminal.interrupt();
    expect(await terminal.done).toBe(130);
    expect(terminal.modes).toEqual([true, false]);
  });

  it("tells at once what is wrong", async () => {
    expect(await new Terminal(true, "instance console nobody").done).toBe(3);
    expect(await new Terminal(true, "instance console ins-zzzzzzzz").done).toBe(3);
  });
});

describe("the console behind a pipe", () => {
  it("passes all input, shows what comes, and leaves when it is silent", async () => {
    const terminal = new Terminal(false, "instance console a --history 0 --linger 1");
    terminal.type("uname -a\n\x1dnot an escape here\n");
    terminal.stdin.end();
    expect(await terminal.done).toBe(0);
    expect(consoleAt(0).written()).toBe("uname -a\n\x1dnot an escape here\n");
    // The console in memory echoes.
    expect(terminal.shown).toBe("uname -a\n\x1dnot an escape here\n");
    expect(terminal.modes).toEqual([]);
  });

  it("does not wait for somebody to start a guest that is stopped", async () => {
    const instance = api.cloud.allInstances.find((each) => each.id === id);
    if (instance !== undefined) instance.state = "STOPPED";
    const terminal = new Terminal(false, "instance console a");
    terminal.stdin.end();
    expect(await terminal.done).toBe(4);
  });
});

describe("what is typed", () => {
  it("goes to the guest up to the escape, whatever it is", () => {
    fc.assert(
      fc.property(fc.uint8Array(), (bytes) => {
        const chunk = Buffer.from(bytes);
        const { data, leave } = typed(chunk);
        const at = bytes.indexOf(escapeByte);
        expect(leave).toBe(at >= 0);
        expect(data).toEqual(at < 0 ? chunk : chunk.subarray(0, at));
      }),
    );
  });
});

async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setTimeout(resolve, 2));
}
