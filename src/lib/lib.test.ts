import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import * as z from "zod";
import { loadConfig } from "./config.ts";
import { Failure, formatError, isFailure, wrap } from "./errors.ts";
import { idSchema, newId, parseId } from "./ids.ts";
import { backoff, sleep, within } from "./retry.ts";
import { UndoStack } from "./undo.ts";
import { firstOf } from "./words.ts";

const scratch = mkdtempSync(join(tmpdir(), "vstation-lib-"));
afterAll(() => rmSync(scratch, { recursive: true }));

describe("errors", () => {
  it("keeps kind and code through a wrap, and shows the whole chain once", () => {
    const inner = new Failure("no_capacity", "InsufficientCapacity", "no host has room", {
      cause: new Error("12 tried"),
    });
    const outer = wrap("placing ins-1", inner);
    expect(isFailure(outer, "no_capacity")).toBe(true);
    expect(isFailure(outer, "timeout")).toBe(false);
    expect(formatError(wrap("doing", new Error("why")))).toBe("doing <- why");
    expect(formatError(outer)).toContain("12 tried");
  });

  it("survives what is no Error and what points at itself", () => {
    const loop = new Error("loop");
    loop.cause = loop;
    expect(formatError(loop).length).toBeLessThan(200);
    expect(formatError("text")).toBe("text");
    expect(formatError({ a: 1 })).toBe('{"a":1}');
  });
});

describe("words", () => {
  it("say how many are left unsaid", () => {
    const texts = ["a", "b", "c", "d"];
    expect(firstOf(texts, 2)).toBe("a, b and 2 more");
    expect(firstOf(texts, 4)).toBe("a, b, c, d");
    expect(firstOf(texts.slice(0, 1), 4)).toBe("a");
  });
});

describe("ids", () => {
  it("make ids that only their own kind accepts", () => {
    for (let i = 0; i < 200; i++) {
      const id = newId("instance");
      expect(parseId("instance", id)).toBe(id);
      expect(parseId("host", id)).toBeUndefined();
      expect(idSchema("instance").safeParse(id).success).toBe(true);
    }
  });

  it("refuse everything else", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        fc.pre(!/^ins-[a-z0-9]{8}$/.test(text));
        expect(parseId("instance", text)).toBeUndefined();
        expect(idSchema("instance").safeParse(text).success).toBe(false);
      }),
    );
  });
});

describe("retry", () => {
  it("backs off between half and the whole of a doubling delay, never past the ceiling", () => {
    fc.assert(
      fc.property(fc.nat(2000), fc.double({ min: 0, max: 1, noNaN: true, maxExcluded: true }), (n, share) => {
        const whole = Math.min(10_000, 100 * 2 ** Math.min(n, 30));
        const delay = backoff(n, 100, 10_000, () => share);
        expect(delay).toBeGreaterThanOrEqual(whole / 2);
        expect(delay).toBeLessThanOrEqual(whole);
      }),
    );
  });

  it("names what it waited for, and lets a settled answer through", async () => {
    await expect(within(5, "libvirt ping", new Promise(() => undefined))).rejects.toMatchObject({
      kind: "timeout",
      message: expect.stringContaining("libvirt ping") as string,
    });
    await expect(within(1000, "quick", Promise.resolve(7))).resolves.toBe(7);
    await expect(within(1000, "broken", Promise.reject(new Error("no")))).rejects.toThrow("no");
  });

  it("stops sleeping when told to", async () => {
    const controller = new AbortController();
    const sleeping = sleep(60_000, controller.signal);
    controller.abort();
    await expect(sleeping).rejects.toThrow(/abort/);
  });
});

describe("undo", () => {
  it("runs backwards, reports a failing undo and goes on; a cleared stack does nothing", async () => {
    const ran: string[] = [];
    const stack = new UndoStack();
    stack.push("first", () => void ran.push("first"));
    stack.push("second", () => Promise.reject(new Error("stuck")));
    stack.push("third", async () => void ran.push("third"));
    const failed: string[] = [];
    await stack.unwind((name) => failed.push(name));
    expect(ran).toEqual(["third", "first"]);
    expect(failed).toEqual(["second"]);
    stack.push("late", () => void ran.push("late"));
    stack.clear();
    await stack.unwind(() => undefined);
    expect(ran).toHaveLength(2);
  });
});

describe("config", () => {
  const schema = z.strictObject({ port: z.int() });

  it("names file and key of what is wrong", () => {
    const file = join(scratch, "c.json");
    writeFileSync(file, '{"port": 1, "prot": 2}');
    expect(() => loadConfig(file, schema)).toThrow(/c\.json[\s\S]*prot/);
    writeFileSync(file, "{}");
    expect(() => loadConfig(file, schema)).toThrow(/port/);
    writeFileSync(file, "{");
    expect(() => loadConfig(file, schema)).toThrow(/c\.json/);
    expect(() => loadConfig(join(scratch, "absent.json"), schema)).toThrow(/absent\.json/);
  });

  it("freezes what it returns", () => {
    const file = join(scratch, "ok.json");
    writeFileSync(file, '{"port": 1}');
    expect(Object.isFrozen(loadConfig(file, schema))).toBe(true);
  });
});

describe("crash point", () => {
  const program = `import { crashPoint } from ${JSON.stringify(join(import.meta.dirname, "crash-point.ts"))};
    crashPoint("a.b.other"); crashPoint("a.b.c"); console.log("passed");`;
  const run = (env: Record<string, string>): { signal: NodeJS.Signals | null; out: string } => {
    const child = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program], {
      env: { PATH: process.env["PATH"], ...env },
    });
    return { signal: child.signal, out: child.stdout.toString().trim() };
  };

  it("kills once at the named point, then lets the restarted process pass", () => {
    const marker = join(scratch, "once");
    const env = { VSTATION_CRASH_AT: "a.b.c", VSTATION_CRASH_ONCE: marker };
    expect(run(env)).toEqual({ signal: "SIGKILL", out: "" });
    expect(existsSync(marker)).toBe(true);
    expect(run(env)).toEqual({ signal: null, out: "passed" });
  });

  it("does nothing when nobody asks", () => {
    expect(run({})).toEqual({ signal: null, out: "passed" });
  });
});
