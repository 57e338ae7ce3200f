/**
 * The lab as a user meets it: two homes side by side, every part killed in turn, its supervisor killed, powered off without a
 * trace. What runs is the real thing throughout; processes are found and compared by the kernel's own numbers.
 */
import { execFile } from "node:child_process";
import { copyFileSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { TestLab } from "../../lab/testing.ts";
import { leftBehind, traces, type Traces } from "../../lab/traces.ts";

const parts = [
  "postgres",
  "vstation",
  "host1",
  "host1/libvirtd",
  "host1/compute",
  "host2",
  "host2/libvirtd",
  "host2/compute",
];

/** part -> pid of everything that runs, an instance's guest as `host/guest`; throws while a part is missing. */
function running(lab: TestLab, instance?: string): Map<string, number> {
  const pids = new Map<string, number>();
  for (const part of parts) {
    const pid = lab.pidOf(part);
    if (pid === undefined) throw new Error(`${part} is not running`);
    pids.set(part, pid);
  }
  if (instance !== undefined) {
    const guests = lab.guestsOf(instance);
    if (guests.length !== 1) throw new Error(`${guests.length} guests of ${instance} run`);
    for (const { host, pid } of guests) pids.set(`${host}/guest`, pid);
  }
  return pids;
}

/** Waits until every part runs, the killed ones anew, and VStation sees every host ready. */
function whole(
  lab: TestLab,
  before: ReadonlyMap<string, number> = new Map(),
  killed: readonly string[] = [],
  instance?: string,
): Promise<Map<string, number>> {
  return vi.waitFor(
    async () => {
      const now = running(lab, instance);
      for (const part of killed) expect(now.get(part)).not.toBe(before.get(part));
      expect([...(await lab.hosts()).values()]).toEqual(["ready", "ready"]);
      return now;
    },
    { timeout: 60_000, interval: 100 },
  );
}

/** All but these: they belong to what was killed. */
function others(pids: ReadonlyMap<string, number>, killed: string): Map<string, number> {
  return new Map([...pids].filter(([part]) => part !== killed && !part.startsWith(`${killed}/`)));
}

async function vstation(lab: TestLab, ...words: string[]): Promise<string> {
  const program = join(import.meta.dirname, "../../vstation");
  return (await promisify(execFile)(program, ["--home", lab.home.path, "--json", ...words])).stdout;
}

/** Creates an instance by the command line and returns its id when it runs. */
async function runInstance(lab: TestLab): Promise<string> {
  const stdout = await vstation(lab, "instance", "run", "--image", "tiny", "--wait");
  const id = /ins-[a-z0-9]{8}/.exec(stdout)?.[0];
  if (id === undefined) throw new Error(`no instance in ${stdout}`);
  return id;
}

describe("a lab", () => {
  const lab = new TestLab();
  let before: Traces;
  let instance: string;

  beforeAll(async () => {
    before = await traces();
    await lab.start({ hosts: 2 });
    instance = await runInstance(lab);
  });
  afterAll(() => lab.destroy());

  it("says what to do next, in one last line", async () => {
    await lab.stop();
    const { stdout } = await lab.start();
    const last = stdout.trim().split("\n").at(-1);
    expect(last).toContain(lab.credentials.endpoint);
    expect(last).toContain(lab.home.credentialsFile);
    expect(last).toContain("./vstation");
  });

  it("installs nothing and says nothing of set-up the second time", async () => {
    await lab.stop();
    const { stderr } = await lab.start();
    expect(stderr).toBe("");
  });

  it.each([
    "postgres",
    "vstation",
    "host1/libvirtd",
    "host2/libvirtd",
    "host1/compute",
    "host2/compute",
    "host1",
    "host2",
  ])("loses %s to SIGKILL, gets it back, and nothing else is touched", async (part) => {
    const pids = await whole(lab, undefined, [], instance);
    await lab.kill(part);
    const now = await whole(lab, pids, [part], instance);
    expect(others(now, part)).toEqual(others(pids, part));
  });

  it("names a part that cannot live, and mends when the cause is gone", async () => {
    const pids = await whole(lab);
    const config = lab.home.vstationConfigFile;
    copyFileSync(config, `${config}.good`);
    writeFileSync(config, "{}");
    await lab.kill("vstation");
    const broken = await lab.until((status) => status.children["vstation"]?.state === "crash loop");
    expect(broken.children["vstation"]?.lastEnd).toBe("exit status 1");
    copyFileSync(`${config}.good`, config);
    const now = await whole(lab, pids, ["vstation"]);
    expect(others(now, "vstation")).toEqual(others(pids, "vstation"));
  });

  it("refuses a second supervisor on its home", async () => {
    const { code, stdout } = await lab.run(["start", "--home", lab.home.path, "--detach"]);
    expect(code).toBe(1);
    expect(stdout).toContain("already running");
  });

  it("lives on without its supervisor, and the next one takes over what runs", async () => {
    const pids = await whole(lab, undefined, [], instance);
    await lab.kill("supervisor");
    expect(running(lab, instance)).toEqual(pids);
    const { stdout } = await lab.start();
    expect(stdout).toContain("host1 was running and goes on");
    expect(running(lab, instance)).toEqual(pids);
    // Taken over means looked after: what dies now comes back.
    await lab.kill("vstation");
    await lab.kill("host2");
    const now = await whole(lab, pids, ["vstation", "host2"]);
    expect(now.get("postgres")).toBe(pids.get("postgres"));
    expect(now.get("host1/compute")).toBe(pids.get("host1/compute"));
  });

  it.each([
    ["was off meanwhile", () => lab.stop()],
    ["ran on", () => lab.kill("supervisor")],
  ])("has a host again that was taken out and %s", async (_, pause) => {
    await whole(lab, undefined, [], instance);
    const other = lab.hostOf(instance) === "host1" ? "host2" : "host1";
    await vstation(lab, "host", "remove", other, "--yes");
    expect([...(await lab.hosts()).keys()]).not.toContain(other);
    await pause();
    const { stdout } = await lab.start();
    expect(stdout).toContain(`${other} was taken out of VStation and joins again`);
    await whole(lab, undefined, [], instance);
  });

  it("does not have a host again that nobody invites", async () => {
    const pids = await whole(lab, undefined, [], instance);
    const other = lab.hostOf(instance) === "host1" ? "host2" : "host1";
    await vstation(lab, "host", "remove", other, "--yes");
    // What it joined by lies there still, and is tried, and is no good.
    const refusals = (): number =>
      [
        ...readFileSync(join(lab.home.hostDir(other), "log/compute.log"), "utf8").matchAll(
          /could not join VStation again/g,
        ),
      ].length;
    const refused = refusals();
    await lab.kill(`${other}/compute`);
    await vi.waitFor(() => expect(refusals()).toBeGreaterThan(refused), 60_000);
    expect([...(await lab.hosts()).keys()]).not.toContain(other);
    await lab.kill("supervisor");
    await lab.start();
    const now = await whole(lab, pids, [`${other}/compute`], instance);
    expect(others(now, `${other}/compute`)).toEqual(others(pids, `${other}/compute`));
  });

  it("shares the machine with another lab", async () => {
    const pids = await whole(lab);
    const other = new TestLab();
    try {
      await other.start({ hosts: 2 });
      expect(other.plan.n).not.toBe(lab.plan.n);
      expect(other.credentials.endpoint).not.toBe(lab.credentials.endpoint);
      await other.kill("host1");
      await whole(other);
      const { n } = other.plan;
      await other.stop();
      expect(leftBehind(before, await traces(), other.home.path, n)).toEqual([]);
    } finally {
      await other.destroy();
    }
    expect(running(lab)).toEqual(pids);
  });

  it("leaves nothing behind when it is powered off, with or without its supervisor", async () => {
    const { n } = lab.plan;
    await lab.stop();
    expect(leftBehind(before, await traces(), lab.home.path, n)).toEqual([]);
    await lab.start();
    expect(leftBehind(before, await traces(), lab.home.path, n)).not.toEqual([]);
    // Powering off was no wish to stop the instance.
    await whole(lab, undefined, [], instance);
    await lab.kill("supervisor");
    await lab.stop();
    expect(leftBehind(before, await traces(), lab.home.path, n)).toEqual([]);
    expect(lab.status()).toMatchObject({ state: "off", supervisor: null });
  });
});
