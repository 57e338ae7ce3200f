/**
 * The command line as a person and a script use it, against a whole lab: real hosts, real guests. What is only printed is
 * tested beside the code (src/cli); here each word is held against what really is.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { chmodSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { TestLab } from "../../lab/testing.ts";

const program = join(import.meta.dirname, "../../vstation");
const scratch = mkdtempSync(join(tmpdir(), "vstation-cli-"));
const lab = new TestLab();

beforeAll(async () => lab.start({ hosts: 2 }));
const runs: Run[] = [];
afterAll(async () => {
  // What a failed test left running; a run that has ended takes no signal.
  for (const run of runs) run.child.kill("SIGKILL");
  await lab.destroy();
  rmSync(scratch, { recursive: true });
});

/** A run of the program whose output a test waits on. */
class Run {
  out = "";
  err = "";
  readonly child: ChildProcess;
  readonly #ended: Promise<number>;
  #wake: () => void = () => undefined;

  constructor(command: string, args: readonly string[]) {
    runs.push(this);
    this.child = spawn(command, args, { env: { ...process.env, VSTATION_HOME: lab.home.path } });
    this.child.stdout?.on("data", (data: Buffer) => {
      this.out += data.toString("latin1");
      this.#wake();
    });
    this.child.stderr?.on("data", (data: Buffer) => void (this.err += data.toString("latin1")));
    this.#ended = new Promise((resolve, reject) => {
      this.child.once("error", reject);
      this.child.once("close", (code) => {
        resolve(code ?? -1);
        this.#wake();
      });
    });
  }

  async end(): Promise<{ code: number; out: string; err: string }> {
    const code = await this.#ended;
    return { code, out: this.out, err: this.err };
  }

  /** Resolves when the text stands in the output behind `from`; the test's own deadline ends a hopeless wait. */
  async shows(text: string | RegExp, from = 0): Promise<void> {
    const found = (): boolean => {
      const rest = this.out.slice(from);
      return typeof text === "string" ? rest.includes(text) : text.test(rest);
    };
    while (!found()) {
      if (this.child.exitCode !== null) throw new Error(`it ended before ${String(text)}: ${this.out}${this.err}`);
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  type(text: string): void {
    this.child.stdin?.write(text);
  }
}

function cli(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  const run = new Run(program, args);
  run.child.stdin?.end();
  return run.end();
}

/** Behind a real terminal: `script` of util-linux gives it one and passes on what is typed. */
function atTerminal(...args: string[]): Run {
  return new Run("script", ["-qefc", [program, ...args].join(" "), "/dev/null"]);
}

async function json<T>(...args: string[]): Promise<T> {
  const { code, out, err } = await cli(...args, "--json");
  if (code !== 0) throw new Error(`${args.join(" ")} ended with ${code}: ${err}`);
  return JSON.parse(out) as T;
}

interface Finding {
  check: string;
  level: string;
  next: string | null;
}

/** The exit code, and the findings by what was looked at. */
async function doctor(...args: string[]): Promise<{ code: number; findings: Map<string, Finding> }> {
  const { code, out } = await cli("doctor", "--json", ...args);
  const { findings } = JSON.parse(out) as { findings: Finding[] };
  return { code, findings: new Map(findings.map((finding) => [finding.check, finding])) };
}

describe("a healthy set-up", () => {
  it("is found healthy, and its hosts are listed", async () => {
    const { code, findings } = await doctor();
    const ill = [...findings.values()].filter(({ level }) => level === "error");
    expect(ill).toEqual([]);
    expect(code).toBe(0);
    expect([...findings.keys()]).toEqual(expect.arrayContaining(["database", "vstation", "host host1", "host host2"]));
    const hosts = await json<{ hosts: { name: string; state: string }[] }>("host", "list");
    expect(Object.fromEntries(hosts.hosts.map(({ name, state }) => [name, state]))).toEqual({
      host1: "ready",
      host2: "ready",
    });
    expect((await cli("host", "show", "host1", "--check")).out).toMatch(/ok +libvirt/);
    expect((await cli("instance", "run", "--image", "tiny", "--dry-run")).out).toContain("it would fit");
  });
});

describe("an instance", () => {
  let id: string;

  it("is run, and what is said of it is so", async () => {
    const run = await cli("instance", "run", "--image", "tiny", "--name", "web", "--wait", "--tag", "team=a");
    expect(run).toMatchObject({ code: 0, out: expect.stringContaining("SUCCEEDED") as string });
    const shown = await json<{ id: string; state: string; hostId: string }>("instance", "show", "web");
    expect(shown.state).toBe("RUNNING");
    ({ id } = shown);
    const host = lab.hostOf(id);
    expect(host).toBeDefined();
    expect((await cli("instance", "list", "--tag", "team=a")).out).toMatch(
      new RegExp(`${id} +web +RUNNING .* ${host} `),
    );
    const placed = await json<{ id: string }>("host", "show", host ?? "");
    expect(placed.id).toBe(shown.hostId);
  });

  it("is talked to at its console, which a person leaves by Ctrl-]", async () => {
    const terminal = atTerminal("instance", "console", "web");
    await terminal.shows("ready boot_id=");
    await terminal.shows(/\/# /);
    terminal.type("echo sum-$((40 + 2))\r");
    await terminal.shows(/sum-42\r+\n/);
    terminal.type("\x1d");
    expect((await terminal.end()).code).toBe(0);
    // The same words are in its log, and a script can talk to it through a pipe.
    expect((await cli("instance", "log", "web")).out).toContain("sum-42");
    const piped = new Run(program, ["instance", "console", id, "--history", "0", "--linger", "5"]);
    piped.type("echo piped-$((20 + 3))\r");
    await piped.shows("piped-23");
    piped.child.stdin?.end();
    expect(await piped.end()).toMatchObject({ code: 0, out: expect.stringContaining("piped-23") as string });
  });

  it("keeps its console through a stop and a start", async () => {
    const terminal = atTerminal("instance", "console", "web");
    await terminal.shows("Ctrl-] leaves");
    await terminal.shows(/\/# /);
    const before = terminal.out.length;
    expect(await cli("instance", "stop", "web", "--hard", "--wait")).toMatchObject({ code: 0 });
    await terminal.shows(`${id} is STOPP`, before);
    expect(lab.hostOf(id)).toBeUndefined();
    expect(await cli("instance", "start", id, "--wait")).toMatchObject({ code: 0 });
    await terminal.shows("connected again", before);
    // The second boot is seen whole, the first is not shown again.
    await terminal.shows("ready boot_id=", before);
    await terminal.shows(/\/# /, before);
    terminal.type("echo again-$((50 + 1))\r");
    await terminal.shows(/again-51\r+\n/, before);
    expect(terminal.out.slice(before).split("ready boot_id=")).toHaveLength(2);
    terminal.type("\x1d");
    expect((await terminal.end()).code).toBe(0);
  });

  it("is refused what its state does not allow, with the code for it", async () => {
    const run = await cli("instance", "start", "web");
    expect(run.code).toBe(4);
    expect(run.err).toContain("(WrongState)");
    expect((await cli("instance", "run", "--image", "tiny", "--type", "SA2.45XLARGE464")).code).toBe(4);
    expect((await cli("instance", "show", "nobody")).code).toBe(3);
    expect((await cli("instance", "run", "--image", "tiny", "--type", "T9.NONE")).code).toBe(2);
  });

  it("is followed by events while it ends for good", async () => {
    const events = new Run(program, ["events"]);
    const operations = (await json<{ operations: { id: string }[] }>("operation", "list")).operations.length;
    expect(await cli("instance", "terminate", "web", "--yes", "--wait")).toMatchObject({ code: 0 });
    await events.shows(`instance  ${id}`);
    events.child.kill("SIGINT");
    expect((await events.end()).code).toBe(0);
    expect((await json<{ operations: unknown[] }>("operation", "list")).operations).toHaveLength(operations + 1);
    expect((await cli("instance", "list", "--json")).out).not.toContain(id);
    expect(lab.hostOf(id)).toBeUndefined();
  });
});

describe("a broken set-up", () => {
  it("is named part by part, each with what to do", async () => {
    chmodSync(lab.home.credentialsFile, 0o644);
    const open = await doctor();
    expect(open.code).toBe(1);
    expect(open.findings.get("credentials")).toMatchObject({
      level: "error",
      next: expect.stringContaining("chmod 600") as string,
    });
    chmodSync(lab.home.credentialsFile, 0o600);

    await lab.kill("supervisor");
    await lab.kill("postgres");
    const headless = await doctor();
    expect(headless.code).toBe(1);
    for (const check of ["supervisor", "database", "vstation"]) {
      expect(headless.findings.get(check)).toMatchObject({
        level: "error",
        next: expect.stringMatching(/\w/) as string,
      });
    }
    await lab.kill("vstation");
    expect((await cli("host", "list")).code).toBe(5);
    expect((await doctor()).findings.get("vstation")?.next).toContain("npm start");
  });

  it("gives away nothing in its bundle", async () => {
    const file = join(scratch, "bundle.tar.gz");
    expect((await doctor("--bundle", file)).code).toBe(1);
    const text = gunzipSync(readFileSync(file)).toString("latin1");
    expect(text).toContain("vstation-bundle/log/vstation.log");
    expect(text).toContain("vstation-bundle/hosts/host1/log/compute.log");
    const { nativeToken, secretKey } = JSON.parse(readFileSync(lab.home.credentialsFile, "utf8")) as Record<
      string,
      string
    >;
    expect([nativeToken, secretKey].every((secret) => secret !== undefined && secret.length > 8)).toBe(true);
    expect(text).not.toContain(nativeToken);
    expect(text).not.toContain(secretKey);
    expect(text).not.toContain("PRIVATE KEY");
  });

  it("is well again after what doctor told", async () => {
    await lab.start();
    const { code, findings } = await doctor();
    expect([...findings.values()].filter(({ level }) => level === "error")).toEqual([]);
    expect(code).toBe(0);
    await lab.stop();
    const off = await doctor();
    expect(off.code).toBe(1);
    expect(off.findings.get("supervisor")).toMatchObject({ level: "error" });
    expect((await doctor("--home", join(scratch, "nowhere"))).findings.get("home")).toMatchObject({ level: "error" });
  });
});
