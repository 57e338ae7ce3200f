/** Moves of running guests: what is printed of them, and how a wait for one ends. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { beforeEach, expect, it } from "vitest";
import type { SourceState } from "../core/migration/halves.ts";
import { predict } from "../core/migration/prediction.ts";
import type { MigrationView } from "../vstation/cloud/migrations.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

beforeEach(async () => {
  await cli("instance run --name web");
});

/** The one move becomes this, and everybody hears of it. */
function becomes(change: Partial<MigrationView>): void {
  const [one] = here.cloud.migrations.all;
  if (one === undefined) throw new Error("nothing moves");
  Object.assign(one, change);
  here.cloud.emit("migration", one.id);
}

const mib = 2 ** 20;
const copying = (remaining: number): SourceState => ({
  is: "copying",
  progress: {
    pass: 1,
    totalBytes: 400 * mib,
    sentBytes: 0,
    remainingBytes: remaining * mib,
    dirtyBytesPerSecond: 3 * mib,
    bytesPerSecond: 90 * mib,
    throttlePercent: 0,
    limitMs: 30,
  },
});

it("asks for a move, and shows it", async () => {
  expect(await cli("instance migrate web --to host1")).toMatchInlineSnapshot(`
    {
      "code": 0,
      "err": "",
      "out": "ID            INSTANCE      FROM           TO             PHASE      STATE    AGE  REASON
    mig-00000001  ins-00000001  host-aaaaaaa1  host-aaaaaaa1  preparing  PENDING  5m   -
    ",
    }
  `);
  expect(here.cloud.seen).toContainEqual({
    call: "migrations.begin",
    args: [expect.anything(), "ins-00000001", { to: "host-aaaaaaa1", policy: "gentle", ceilingMs: null, tries: 4 }],
  });
  becomes({ phase: "copying", state: "RUNNING", source: copying(100) });
  expect((await cli("migration show web")).out).toMatchInlineSnapshot(`
    "id              mig-00000001
    instance        ins-00000001
    from            host-aaaaaaa1
    to              host-aaaaaaa1
    phase           copying 75 %, 100 MiB left, dirty 3 MiB/s, pause 1112 ms of 30 ms, sent 90 MiB/s
    state           RUNNING
    error           -
    policy          gentle
    try             1 of 4, asked by an operator
    not before      -
    tried again as  -
    instance is on  host-aaaaaaa1
    source says     copying
    target says     -
    paused for      -
    operation       op-00000003
    account         acct-00000001
    created         2026-01-02T03:04:05.000Z
    deadline        2026-01-02T03:14:05.000Z
    ended           -
    "
  `);
  expect((await cli("migration list --open --instance web --host host1")).out).toMatchInlineSnapshot(`
    "ID            INSTANCE      FROM           TO             PHASE    STATE    AGE  REASON
    mig-00000001  ins-00000001  host-aaaaaaa1  host-aaaaaaa1  copying  RUNNING  5m   -
    "
  `);
  expect(JSON.parse((await cli("migration show mig-00000001 --json")).out)).toMatchObject({ phase: "copying" });
  expect(await cli("migration show mig-00000009")).toMatchObject({ code: 3 });
});

it("says of a try in the queue what it waits for, apart from its phase", async () => {
  await cli("instance migrate web");
  const waitsFor = { code: "MigrationGuestBusy", message: "a snapshot of it is made" };
  const request = { askedBy: "drain", attempt: 2, tries: 4, next: null, notBefore: null, waitsFor } as const;
  becomes({ phase: "queued", request, targetHostId: null });
  expect((await cli("migration list")).out).toMatchInlineSnapshot(`
    "ID            INSTANCE      FROM           TO  PHASE   STATE    AGE  REASON
    mig-00000001  ins-00000001  host-aaaaaaa1  -   queued  PENDING  5m   MigrationGuestBusy: a snapshot of it is made
    "
  `);
});

it("asks by a policy, and tells the story of what it did", async () => {
  const asked = await cli("instance migrate web --policy finish --ceiling 500");
  expect(asked).toMatchObject({ code: 0 });
  expect(here.cloud.seen).toContainEqual({
    call: "migrations.begin",
    args: [expect.anything(), "ins-00000001", { to: null, policy: "finish", ceilingMs: 500, tries: 4 }],
  });
  expect(await cli("instance migrate web --policy harsh")).toMatchObject({ code: 2 });
  const [one] = here.cloud.migrations.all;
  const look = { is: "look", totalBytes: 400 * mib, dirtyBytesPerSecond: 90 * mib, bytesPerSecond: 60 * mib } as const;
  const start = Date.parse("2026-01-02T03:04:05.000Z");
  const slow = { pull: "throttle", percent: 20 } as const;
  const stop = { pull: "throttle", percent: 0 } as const;
  const curve = { bytesPerSecond: 45 * mib, workingSetBytes: 400 * mib };
  const measured = { memoryBytes: 400 * mib, curve, linkBytesPerSecond: 61.5 * mib };
  const foretold = predict({ ...measured, limitMs: 30, fixedMs: 20 })!;
  here.cloud.migrations.stories.set(one!.id, [
    { is: "began", at: start, policy: "finish", aimMs: 30, ceilingMs: 500 },
    { is: "step", at: start + 20.4, step: "dialled" },
    { is: "step", at: start + 80, step: "prepared" },
    { is: "foretold", at: start + 90, prediction: foretold },
    { ...look, at: start + 1_000, pass: 1, passMs: 900, remainingBytes: 300 * mib },
    { ...look, at: start + 9_000, pass: 4, passMs: 200, remainingBytes: 24 * mib },
    { ...look, at: start + 12_000, pass: 6, passMs: 200, remainingBytes: 25 * mib },
    { is: "lever", at: start + 12_003, lever: slow, why: "no pass came closer" },
    { is: "lever", at: start + 23_000, lever: stop, why: "slowing the guest did not help" },
    { is: "lever", at: start + 33_000, lever: { pull: "pause", limitMs: 450 }, why: "no pass came closer" },
    { is: "step", at: start + 34_000, step: "paused" },
    { is: "step", at: start + 34_391.5, step: "resumed" },
    { is: "left", at: start + 34_400, pauseMs: 391.5 },
  ]);
  becomes({ phase: "copying", state: "RUNNING", source: copying(100) });
  const [, beside, told] = (await cli("migration show web")).out.split("\n\n");
  expect(beside).toMatchInlineSnapshot(`
    "            FORETOLD  CAME
    changes     81 MiB/s  90 MiB/s
    is sent     62 MiB/s  60 MiB/s
    copied in   18.1 s    33.9 s
    paused for  515 ms    392 ms"
  `);
  expect(told).toMatchInlineSnapshot(`
    "story from 2026-01-02T03:04:05.000Z on
        0.000 s  began by the policy finish: a pause of 30 ms is aimed at, 500 ms at most
        0.020 s  the two hosts have each other
        0.080 s  a machine waits for it at the target
        0.090 s  foretold: when it is slowed to 51 MiB/s of writes: copied in 18.1 s by 8 rounds, then paused for at most 515 ms
       12.000 s  pass 6: 25 MiB remain (24 MiB at least), 90 MiB/s change, 60 MiB/s are sent
       12.003 s  slowed by 20 %: no pass came closer
       23.000 s  not slowed any more: slowing the guest did not help
       33.000 s  a pause of 450 ms is allowed, which is longer than aimed at: no pass came closer
       34.000 s  paused
       34.392 s  it runs at the target
       34.400 s  it runs at the target, paused for 392 ms
    "
  `);
  const { story } = JSON.parse((await cli("migration show web --json")).out) as { story: unknown[] };
  expect(story).toHaveLength(13);
  const file = join(mkdtempSync(join(tmpdir(), "picture-")), "move.svg");
  expect(await cli(`migration show web --svg ${file}`)).toMatchObject({ code: 0 });
  expect(readFileSync(file, "utf8")).toMatch(/^<svg [^]*2: 12\.0 s, slowed by 20 %: no pass came closer[^]*<\/svg>\n$/);
  expect(await cli(`migration show web --svg ${file}`)).toMatchObject({ code: 2 });
  rmSync(dirname(file), { recursive: true });
  here.cloud.migrations.stories.clear();
  expect(await cli(`migration show web --svg ${file}`)).toMatchObject({
    code: 2,
    err: expect.stringMatching(/no story to draw yet/),
  });
});

it("says of a guest in two halves that it is, and what is the matter with it", async () => {
  const waiting = cli("instance migrate web --policy postcopy --wait");
  await expect.poll(() => here.cloud.migrations.all.length).toBe(1);
  const feeding = (broken: boolean) => ({ is: "feeding", remainingBytes: 3 * mib, broken }) as const;
  const fetching = { phase: "fetching", state: "RUNNING", target: { is: "fetching", port: 4567 } } as const;
  becomes({ ...fetching, source: feeding(true) });
  const looks = () => here.cloud.seen.filter(({ call }) => call === "migrations.list").length;
  await expect.poll(looks).toBeGreaterThan(1);
  expect((await cli("migration show web")).out).toContain("3 MiB remain at its former host");
  becomes({ phase: "clearing", state: "SUCCEEDED", moved: true, source: { is: "left", pauseMs: 12.4 } });
  const { code, err } = await waiting;
  expect(code).toBe(0);
  expect(err).toContain("migrate: fetching: the rest of its memory does not come over at present\n");
});

it("waits for where the guest goes on, with a line for each step", async () => {
  const waiting = cli("instance migrate web --wait");
  await expect.poll(() => here.cloud.migrations.all.length).toBe(1);
  becomes({ target: { is: "preparing", step: "the machine" } });
  await expect.poll(() => here.cloud.seen.filter(({ call }) => call === "migrations.list").length).toBeGreaterThan(1);
  becomes({ phase: "copying", state: "RUNNING", source: copying(100) });
  becomes({ phase: "copying", source: copying(50) });
  const over = { phase: "clearing", state: "SUCCEEDED", moved: true } as const;
  becomes({ ...over, source: { is: "left", pauseMs: 12.4 } });
  const { code, err } = await waiting;
  expect(code).toBe(0);
  expect(err).toContain("ins-00000001 migrate: clearing\n");
  expect(err).toContain("ins-00000001: it runs on host-aaaaaaa2, paused for 12 ms, after 0 s\n");
  // Mere progress is for terminals.
  expect(err).not.toContain("%");
});

it("says why it came to nothing, with its exit code", async () => {
  const waiting = cli("instance migrate web --wait");
  await expect.poll(() => here.cloud.migrations.all.length).toBe(1);
  const error = { code: "MigrationTargetRefused", message: "no hugepages are left" };
  becomes({ phase: "ended", state: "FAILED", error, endedAt: new Date(0) });
  const { code, err } = await waiting;
  expect(code).toBe(1);
  expect(err).toContain(
    "ins-00000001: it was not moved: no hugepages are left (MigrationTargetRefused)\n  next: another target",
  );
  expect((await cli("migration show web")).out).toMatch(/^next +another target/mu);
});

it("calls a move off, and says so when the guest arrived all the same", async () => {
  await cli("instance migrate web");
  expect(await cli("migration cancel web")).toMatchObject({ code: 0, out: expect.stringMatching(/called off/) });
  const waiting = cli("migration cancel mig-00000001 --wait");
  await expect.poll(() => here.cloud.seen.filter(({ call }) => call === "migrations.cancel").length).toBe(2);
  becomes({ phase: "clearing", state: "SUCCEEDED", cancelling: false, moved: true });
  expect(await waiting).toMatchObject({ code: 1 });
  expect(await cli("migration cancel nothing")).toMatchObject({ code: 3 });
});

it("tells what a move would come to, and every reason against it", async () => {
  expect(await cli("instance migrate web --dry-run")).toMatchInlineSnapshot(`
    {
      "code": 0,
      "err": "",
      "out": "instance        ins-00000001
    from            host-aaaaaaa1
    to              host-aaaaaaa2 (of the hosts that can take it, the one left with the least room)
    memory to send  400 MiB
    its image       is at the target
    post-copy       not possible at the target
    link            100 MiB/s, round trip 0.25 ms
    writes          7.0 MiB in 1.0 s
    that is         8.0 MiB/s to 32 MiB of its memory
    expected        copied in 4.3 s by 3 rounds, then paused for about 27 ms
    nothing speaks against it; nothing was changed
    ",
    }
  `);
  await cli("instance migrate web --dry-run --policy finish --ceiling 500");
  expect(here.cloud.seen.findLast(({ call }) => call === "migrations.plan")?.args[2]).toMatchObject({
    policy: "finish",
    ceilingMs: 500,
  });
  here.cloud.migrations.refusals = [
    { code: "HostCordoned", message: "host host-aaaaaaa1 is cordoned", by: "vstation" },
    { code: "MigrationCpuDiffers", message: "the target's processor lacks avx2", by: "hosts" },
  ];
  expect(await cli("instance migrate web --to host1 --dry-run")).toMatchInlineSnapshot(`
    {
      "code": 4,
      "err": "",
      "out": "instance        ins-00000001
    from            host-aaaaaaa1
    to              host-aaaaaaa1 (asked for)
    memory to send  400 MiB
    its image       is at the target
    post-copy       not possible at the target
    link            100 MiB/s, round trip 0.25 ms
    writes          7.0 MiB in 1.0 s
    that is         8.0 MiB/s to 32 MiB of its memory
    expected        copied in 4.3 s by 3 rounds, then paused for about 27 ms
    refused:
      host host-aaaaaaa1 is cordoned (HostCordoned)
      the target's processor lacks avx2 (MigrationCpuDiffers)
    ",
    }
  `);
  expect(JSON.parse((await cli("instance migrate web --dry-run --json")).out)).toMatchObject({
    refusals: [{ code: "HostCordoned" }, { code: "MigrationCpuDiffers" }],
  });
  expect(here.cloud.migrations.all).toEqual([]);
});

it("says how far it is, and how long it would pause, within the 80 columns of a terminal", async () => {
  await cli("instance migrate web");
  const hard = { totalBytes: 98_765 * mib, dirtyBytesPerSecond: 234 * mib, throttlePercent: 90, limitMs: 300 };
  const source = copying(12_345);
  if (source.is !== "copying") throw new Error("it does not copy");
  becomes({ phase: "copying", state: "RUNNING", source: { ...source, progress: { ...source.progress!, ...hard } } });
  const { out } = await cli("migration show web");
  const [, line = ""] = /^phase +(.*)$/m.exec(out) ?? [];
  expect(line.slice(0, 79)).toMatch(/87 %, 12345 MiB left, dirty 234 MiB.s, slowed 90 %, pause 137 s of 300/);
});
