import { mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { Child, type ChildContext, type ChildSpec } from "./child.ts";
import { gone, handlesOf, isAlive, pidNamespaceOf, processesOf, signal } from "./processes.ts";

let home: string;
let children: Child[];
let events: { event: string; child: unknown }[];

beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), "lab-child-"));
  mkdirSync(join(home, "life"));
  children = [];
  events = [];
});

afterEach(async () => {
  for (const each of children) await each.stop();
  rmSync(home, { recursive: true });
});

function child(script: string, more: Partial<ChildSpec> = {}): Child {
  const context: ChildContext = {
    home,
    lifeline: (name) => join(home, "life", name),
    changed: () => undefined,
    log: (event, detail) => events.push({ event, child: detail["child"] }),
  };
  const spec: ChildSpec = {
    name: "thing",
    command: ["sh", "-c", script],
    logFile: join(home, "thing.log"),
    namespaced: false,
    politely: "SIGTERM",
    graceMs: 500,
    ...more,
  };
  const made = new Child(spec, context);
  children.push(made);
  return made;
}

/** The child's handle, once it is another one than `before`. */
function handle(of: Child, before: number | null = null): Promise<number> {
  return vi.waitFor(
    () => {
      const { pid, state } = of.status();
      if (state !== "running" || pid === null || pid === before) throw new Error(`${state}, pid ${pid}`);
      return pid;
    },
    { timeout: 20_000, interval: 10 },
  );
}

describe("a child", () => {
  it("is started again when it is killed, and says how it ended", async () => {
    const thing = child("exec sleep 1000");
    expect(await thing.start()).toBe("started");
    const first = await handle(thing);
    signal(first, "SIGKILL");
    const second = await handle(thing, first);
    expect(isAlive(second)).toBe(true);
    expect(thing.status()).toMatchObject({ restarts: 1, lastEnd: "killed by SIGKILL" });
  });

  it("is stopped politely, and by force when it does not listen", async () => {
    const deaf = child("trap '' TERM; echo ready; while :; do sleep 0.05; done");
    await deaf.start();
    const pid = await handle(deaf);
    await vi.waitFor(() => expect(readFileSync(join(home, "thing.log"), "utf8")).toBe("ready\n"), {
      timeout: 20_000,
    });
    await deaf.stop();
    expect(isAlive(pid)).toBe(false);
    expect(deaf.status()).toMatchObject({ state: "stopped", lastEnd: "killed by SIGKILL", restarts: 0 });
  });

  it("that ends at once, again and again, is called a crash loop and still tried", async () => {
    const broken = child("exit 3");
    await broken.start();
    await vi.waitFor(() => expect(broken.status().state).toBe("crash loop"), { timeout: 20_000 });
    expect(broken.status()).toMatchObject({ lastEnd: "exit status 3", restarts: 5 });
    expect(events.filter((each) => each.event === "crash loop")).toHaveLength(1);
  });

  it("that cannot be found says so and is tried again", async () => {
    const absent = child("", { command: ["/nonexistent/program"] });
    await absent.start();
    await vi.waitFor(() => expect(absent.status().restarts).toBeGreaterThan(1), { timeout: 20_000 });
    expect(absent.status().lastEnd).toContain("ENOENT");
  });

  it("lives on without its supervisor, is adopted by the next, and its end is noticed there too", async () => {
    const before = child("exec sleep 1000");
    await before.start();
    const pid = await handle(before);

    const after = child("exec sleep 1000");
    expect(await after.start()).toBe("adopted");
    expect(after.status().pid).toBe(pid);
    // Only the adopter shall bring it back.
    await Promise.all([before.stop(), handle(after, pid)]);
    expect(handlesOf(home).size).toBe(1);
    expect(after.status()).toMatchObject({ restarts: 1, lastEnd: expect.stringContaining("adopted") as string });
  });

  it.skipIf(process.getuid?.() !== 0)("takes its whole namespace along when its handle is killed", async () => {
    const boxed = child("", {
      command: ["unshare", "--pid", "--fork", "--kill-child=SIGKILL", "sh", "-c", "sleep 1000 & sleep 1001 & wait"],
      namespaced: true,
    });
    await boxed.start();
    const pid = await handle(boxed);
    const outside = pidNamespaceOf("self");
    const inside = await vi.waitFor(
      () => {
        const found = processesOf(home).filter((each) => each.pidNamespace !== outside);
        expect(found).toHaveLength(3);
        return found.map((each) => each.pid);
      },
      { timeout: 20_000 },
    );
    signal(pid, "SIGKILL");
    await handle(boxed, pid);
    expect(await gone(inside, 0)).toBe(true);
  });
});
