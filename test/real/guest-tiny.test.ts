/**
 * The tiny image under plain QEMU: boots, takes its seed, and does for an outside observer what its probe promises. One machine
 * goes through the tests in their order, because each boot costs seconds: what comes later finds what came before.
 */
import { createSocket } from "node:dgram";
import { mkdtemp, readdir, readFile, rm, stat, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { bareHost, BareGuest } from "../../guest/bare.ts";
import { beatClock, BeatListener } from "../../guest/beat-listener.ts";
import { buildTiny } from "../../guest/build.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { run } from "../../guest/run.ts";
import { buildSeed } from "../../src/compute/seed.ts";
import type { ImageManifest } from "../../src/core/image-manifest.ts";
import { isFailure } from "../../src/lib/errors.ts";
import { sleep, within } from "../../src/lib/retry.ts";
import { until } from "../until.ts";

const bootDeadline = 60_000;
const ports = { tcp: [7, 7777], udp: [7, 7777] };

describe("the tiny guest", () => {
  let work: string;
  let image: string;
  let manifest: ImageManifest;
  let listener: BeatListener;
  let guest: BareGuest;
  let probe: ProbeClient;
  let bootId = "";
  let acked = 0;

  const boot = async (): Promise<string> => {
    guest = await BareGuest.start({ image, manifest, work, seed: join(work, "seed"), cpus: 2, diskGiB: 3, ports });
    const { bootId: booted, ip } = await guest.ready(bootDeadline);
    console.log(`ready line ${(beatClock() - guest.startedAt).toFixed(0)} ms after QEMU's start`);
    expect(ip).toBe("10.0.2.15");
    probe = await ProbeClient.connect("127.0.0.1", { port: guest.port("tcp", 7777) });
    return booted;
  };

  beforeAll(async () => {
    work = await mkdtemp(join(tmpdir(), "guest-tiny-"));
    manifest = await buildTiny(join(work, "images"));
    image = join(work, "images", manifest.id);
    listener = await BeatListener.open({ host: "127.0.0.1" });
    await buildSeed(join(work, "seed"), {
      instanceId: "ins-tiny0001",
      hostname: "web-1",
      userData: Buffer.from(`#!/bin/sh\n# tiny.beat=${bareHost}:${listener.port}\necho script of $(hostname) ran\n`),
      publicKeys: ["ssh-ed25519 AAAAC3 somebody", "ssh-rsa AAAAB3 another"],
      login: null,
    });
  });

  afterAll(async () => {
    await guest?.kill();
    await listener?.close();
    await rm(work, { recursive: true, force: true });
  });

  test("is built once for its recipe, and again in its place when the recipe is another, on the same disk", async () => {
    const images = join(work, "images");
    const file = join(image, "manifest.json");
    const built = await stat(file);
    expect(await buildTiny(images)).toEqual(manifest);
    expect((await stat(file)).ino).toBe(built.ino);
    for (const [name, digest] of Object.entries(manifest.sha256)) {
      expect((await run("sha256sum", [join(image, name)])).toString().slice(0, 64)).toBe(digest);
    }
    const older = { ...manifest, built: { key: "older", packages: {} } };
    await writeFile(file, JSON.stringify(older));
    await writeFile(join(image, manifest.disk.file), "what instances stand on");
    // Killed between moving the old image aside and the new one in: the old disk must still be found.
    const kill = { VSTATION_CRASH_AT: "guest.build.swap", VSTATION_CRASH_ONCE: join(work, "crashed") };
    const killed = run(process.execPath, ["guest/build.ts", images], { env: kill, deadline: 120_000 });
    await expect(killed).rejects.toThrow("guest/build.ts");
    expect(await readdir(images)).not.toContain(manifest.id);
    const again = await buildTiny(images);
    expect(again.built?.key).toBe(manifest.built?.key);
    expect(again.sha256["initrd"]).toBe(manifest.sha256["initrd"]);
    expect(await readFile(join(image, manifest.disk.file), "utf8")).toBe("what instances stand on");
    expect(await readdir(images)).toEqual([manifest.id]);
    await rm(image, { recursive: true });
    expect(await buildTiny(images)).toEqual(manifest);
  });

  test("the seed is a volume that cloud-init would look for, by another reader's word", async () => {
    const found = (await run("blkid", ["-p", "-o", "export", join(work, "seed")])).toString();
    expect(found).toMatch(/^TYPE=iso9660$/m);
    expect(found).toMatch(/^LABEL=cidata$/m);
  });

  test("boots to its ready line with an address from DHCP", async () => {
    bootId = await boot();
    expect(await probe.bootId()).toBe(bootId);
  });

  test("takes hostname, keys and script from the seed and grows to its disk", async () => {
    expect(await probe.info()).toMatchObject({
      ip: "10.0.2.15",
      hostname: "web-1",
      instanceId: "ins-tiny0001",
      bootId,
      boots: 1,
      cpus: 2,
    });
    const { diskMiB, memoryMiB } = await probe.info();
    expect(diskMiB).toBeGreaterThan(2700);
    expect(memoryMiB).toBeGreaterThan(150);
    await guest.shows(/script of web-1 ran[^]*tiny: user-data ended rc=0/, 10_000);
    const from = guest.console.length;
    guest.type("cat /root/.ssh/authorized_keys");
    await guest.shows(/\nssh-ed25519 AAAAC3 somebody\r\nssh-rsa AAAAB3 another\r\n/, 10_000, from);
  });

  test("has a root shell on the console that reaches the probe", async () => {
    const from = guest.console.length;
    guest.type("probe bootid && id -u && probe nonsense || echo re''fused");
    const shown = await guest.shows(/"bootId":"(.*)"}\r\n0\r\n.*unknown command.*\r\nrefused/, 10_000, from);
    expect(shown[1]).toBe(bootId);
  });

  test("echoes on port 7 and answers control datagrams", async () => {
    const socket = createSocket("udp4");
    const exchange = async (port: number, text: string) => {
      const answer = new Promise<string>((resolve) => socket.once("message", (data) => resolve(data.toString())));
      socket.send(text, guest.port("udp", port), "127.0.0.1");
      return await within(5_000, `the answer to ${text}`, answer);
    };
    expect(await exchange(7, "hello")).toBe("hello");
    expect(JSON.parse(await exchange(7777, "bootid"))).toEqual({ ok: true, bootId });
    socket.close();
    const stream = connect(guest.port("tcp", 7), "127.0.0.1");
    const echoed = new Promise<string>((resolve) => stream.once("data", (data) => resolve(data.toString())));
    stream.write("hello");
    expect(await within(5_000, "the echo", echoed)).toBe("hello");
    stream.destroy();
  });

  test("beats from its start as its user data asks, and a pause is one gap without a loss", async () => {
    expect((await listener.next(5_000)).bootId).toBe(bootId);
    const from = beatClock();
    await guest.qmp("stop");
    await sleep(1_000);
    await guest.qmp("cont");
    await listener.next(5_000);
    await sleep(200);
    const report = await listener.report({ from });
    expect(report.bootIds).toEqual([bootId]);
    // Less what the last beat before it came late.
    expect(report.gaps?.max).toBeGreaterThan(900);
    expect(report.repeated).toBe(0);
  });

  test("beats as told: elsewhere, at another interval, and not at all", async () => {
    const status = await probe.beatStatus();
    expect(status.running).toBe(true);
    expect(status.sent).toBeGreaterThan(100);
    await probe.beatStop();
    await sleep(100);
    await expect(listener.next(300)).rejects.toSatisfy((error) => isFailure(error, "timeout"));
    const from = beatClock();
    const began = performance.now();
    await probe.beatStart(bareHost, listener.port, 20_000);
    await listener.next(5_000);
    await sleep(1_000);
    const { gaps } = await listener.report({ from });
    expect(gaps?.p50).toBeGreaterThan(10);
    const { sent } = await probe.beatStop();
    expect(sent).toBeLessThanOrEqual((performance.now() - began) / 20 + 1);
    await expect(probe.beatStart("nowhere", 1)).rejects.toSatisfy((error) => isFailure(error, "conflict"));
  });

  test.each(["sequential", "random"] as const)(
    "dirties memory at a rate, %s, and vouches for its content",
    async (order) => {
      await probe.dirtyStart({ mib: 32, rateMiBps: 20, order });
      await sleep(1_500);
      const during = await probe.checksum();
      expect(during.pages).toBe(32 * 256);
      // The writer had to wait for the checksum's lock, and was perhaps not back at work yet.
      const { writtenPages } = await probe.dirtyStatus();
      await until("it to write on", async () => (await probe.dirtyStatus()).writtenPages > writtenPages, 10_000);
      const status = await probe.dirtyStop();
      const rate = status.writtenPages / 256 / (status.elapsedUs / 1e6);
      expect(rate).toBeGreaterThan(2);
      expect(rate).toBeLessThan(22);
      const after = await probe.checksum();
      expect(after.sum).not.toBe(during.sum);
      expect((await probe.checksum()).sum).toBe(after.sum);
    },
  );

  test("finds the one page that is not as it was written", async () => {
    await probe.fill(48);
    await probe.dirtyCorrupt(4711);
    await expect(probe.checksum()).rejects.toSatisfy(
      (error) =>
        isFailure(error, "conflict") && error.detail["firstBadPage"] === 4711 && error.detail["badPages"] === 1,
    );
  });

  test("refuses a region that does not fit", async () => {
    await expect(probe.fill(4096)).rejects.toThrow("Cannot allocate memory");
  });

  test("tells where in the machine's memory its victim's page lies", async () => {
    const { pid, guestPhysical } = await probe.victimStart();
    const shown = await guest.qmp("human-monitor-command", {
      "command-line": `xp /1xb 0x${guestPhysical.toString(16)}`,
    });
    expect(shown).toMatch(/: 0x01/);
    expect(await probe.victimStatus()).toMatchObject({ alive: true, signal: 0 });
    const from = guest.console.length;
    guest.type(`kill -BUS ${pid}; sleep 1; echo ki''lled`);
    await guest.shows(/killed/, 10_000, from);
    expect(await probe.victimStatus()).toMatchObject({ alive: false, signal: 7 });
  });

  test("writes to its disk and keeps what it acknowledged over the loss of its host", async () => {
    expect((await probe.diskWrite(8)).writtenMiB).toBe(8);
    await probe.diskClear();
    expect(await probe.lastRecord()).toBe(0);
    await probe.recordsStart();
    await until("a record to be on the disk", async () => (await probe.recordsStatus()).acked > 0, 30_000);
    const status = await probe.recordsStatus();
    expect(status).toMatchObject({ running: true, failed: 0, error: "" });
    acked = status.acked;
    await guest.kill();
    probe.close();
    listener.clear();
    const before = bootId;
    bootId = await boot();
    expect(bootId).not.toBe(before);
    expect(await probe.lastRecord()).toBeGreaterThanOrEqual(acked);
    expect((await probe.info()).boots).toBe(2);
    expect((await listener.next(5_000)).bootId).toBe(bootId);
  });

  test("runs a script once for its instance id, not on every boot", async () => {
    await guest.shows(/web-1:\/# /, 10_000);
    await sleep(500);
    expect(guest.console).not.toContain("script of web-1 ran");
  });

  test("restarts when told", async () => {
    const from = guest.console.length;
    probe.leave("reboot");
    expect((await guest.ready(bootDeadline, from)).bootId).not.toBe(bootId);
    probe.close();
    probe = await ProbeClient.connect("127.0.0.1", { port: guest.port("tcp", 7777) });
    expect((await probe.info()).boots).toBe(3);
  });

  test("powers off at the power button, with its writes on disk", async () => {
    await probe.recordsStart();
    await sleep(300);
    ({ acked } = await probe.recordsStop());
    const pressed = beatClock();
    await guest.qmp("system_powerdown");
    expect(await guest.ended(20_000)).toBe(0);
    console.log(`off ${(beatClock() - pressed).toFixed(0)} ms after the power button`);
  });

  test("comes up without a seed, and takes its beat from the kernel's command line", async () => {
    probe.close();
    listener.clear();
    guest = await BareGuest.start({ image, manifest, work, ports, cmdline: `tiny.beat=${bareHost}:${listener.port}` });
    const beaten = listener.next(bootDeadline);
    const { bootId: booted } = await guest.ready(bootDeadline);
    expect((await beaten).bootId).toBe(booted);
    probe = await ProbeClient.connect("127.0.0.1", { port: guest.port("tcp", 7777) });
    expect(await probe.info()).toMatchObject({ instanceId: "none", boots: 4 });
    expect(await probe.lastRecord()).toBe(acked);
    guest.type("poweroff");
    expect(await guest.ended(20_000)).toBe(0);
  });
});
