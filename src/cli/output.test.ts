/** The same answers for programs and for people at a terminal. */
import { describe, expect, it } from "vitest";
import { cliDocument } from "./docs.ts";
import type { Io } from "./io.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

describe("for programs", () => {
  it("gives the API's own shapes, and errors as one line", async () => {
    const run = JSON.parse((await cli("instance run --name a --wait --json")).out) as Record<string, unknown[]>;
    expect(run).toMatchObject({ instanceIds: [expect.any(String)], operations: [{ state: "SUCCEEDED" }] });
    const list = JSON.parse((await cli("instance list --json")).out) as { total: number; instances: unknown[] };
    expect(list).toMatchObject({ total: 1, instances: [{ name: "a", hasUserData: false }] });
    const failed = await cli("instance show nobody --json");
    expect(failed.out).toBe("");
    expect(JSON.parse(failed.err)).toMatchObject({ error: { kind: "not_found", code: "InstanceNotFound" } });
    expect(JSON.parse((await cli("instance terminate a --json")).out)).toHaveProperty("operationIds");
  });

  it("says in every list how many there are", async () => {
    const lists = [...cliDocument().matchAll(/^### (.* list)$/gm)].map(([, path = ""]) => path);
    expect(lists).toContain("type list");
    for (const path of lists) {
      const { code, out } = await cli(`${path} ${path === "account key list" ? "default" : ""} --json`);
      expect({ path, code, total: typeof (JSON.parse(out) as { total?: unknown }).total }).toEqual({
        path,
        code: 0,
        total: "number",
      });
    }
  });

  it("shows no progress", async () => {
    expect((await cli("instance run --name a --wait --json")).err).toBe("");
  });
});

describe("for people at a terminal", () => {
  const atTerminal = { outIsTty: true, errIsTty: true, env: { TERM: "xterm" } };

  it("colours states, and only there", async () => {
    await cli("instance run --name a");
    expect((await cli("instance list", atTerminal)).out).toContain("\x1b[32mRUNNING");
    expect((await cli("instance list", { ...atTerminal, env: { NO_COLOR: "1" } })).out).not.toContain("\x1b");
    expect((await cli("instance list")).out).not.toContain("\x1b");
  });

  it("asks before what cannot be undone", async () => {
    await cli("instance run --name a");
    const asked: string[] = [];
    const saying = (answer: boolean): Partial<Io> => ({
      confirm: (question) => {
        asked.push(question);
        return Promise.resolve(answer);
      },
    });
    expect((await cli("instance terminate a", saying(false))).code).toBe(4);
    expect(here.cloud.allInstances).toHaveLength(1);
    expect(asked).toEqual(["Terminate ins-00000001? Their disks are deleted."]);
    expect((await cli("instance terminate a", saying(true))).code).toBe(0);
    expect(here.cloud.allInstances).toHaveLength(0);
  });

  it("rewrites one progress line", async () => {
    const run = await cli("instance run --name a --wait", atTerminal);
    expect(run.err).toContain("\r\x1b[Kins-00000001 run: done (0 s)");
    expect(run.err.endsWith("\r\x1b[K")).toBe(true);
  });

  it("shows what needs attention, and that a state is old", async () => {
    await cli("instance run --name a");
    Object.assign(here.cloud.allInstances[0] ?? {}, {
      stale: true,
      attention: "paused: the disk is full; free some space",
    });
    const { out } = await cli("instance list");
    expect(out).toContain("RUNNING?");
    expect(out).toContain("ins-00000001: paused: the disk is full; free some space\n");
  });

  it("shows a guest's log without what would steer the terminal, but through a pipe as it is", async () => {
    await cli("instance run --name a");
    here.cloud.consoleData = Buffer.from("\x1b[2Jboot\x07\r\nok\n");
    expect((await cli("instance log a", atTerminal)).out).toBe("boot\nok\n");
    expect((await cli("instance log a")).out).toBe("\x1b[2Jboot\x07\r\nok\n");
  });
});
