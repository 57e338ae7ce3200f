/**
 * One measurement: the guest beats and works, something is done to it (it is moved, renewed, or left alone), and what was seen of that from
 * outside becomes a row.
 *
 * Only the guest that is measured beats and works; the other one sleeps meanwhile.
 */
import { beatClock, type BeatListener } from "../../guest/beat-listener.ts";
import type { BeatReport } from "../../guest/beats.ts";
import type { DirtyStatus, ProbeClient } from "../../guest/probe-client.ts";
import { formatError } from "../../src/lib/errors.ts";
import { sleep } from "../../src/lib/retry.ts";
import { quantile } from "../statistics.ts";
import type { MigrationClass } from "./classes.ts";
import { pauseIn, type Monitors } from "./monitors.ts";
import type { Kind, MigrationRow } from "./rows.ts";

export interface Subject {
  /** libvirt's name of the guest. */
  readonly guest: string;
  readonly probe: ProbeClient;
  readonly beats: BeatListener;
  readonly address: string;
  /** On how many hosts it runs. */
  copies(): number;
}

/** What a measurement saw, besides its row: for the picture. */
export interface Measured {
  readonly row: MigrationRow;
  /** By the beats' clock, as all of the report. */
  readonly began: number;
  readonly report: BeatReport;
}

export const binMs = 100;
const beatMs = 1;
const firstBeatMs = 60_000;
const probeMs = 120_000;

export async function measure(
  of: { subject: Subject; monitors: Monitors; class: MigrationClass; kind: Kind; round: number; settleMs: number },
  act: () => Promise<void>,
): Promise<Measured> {
  const { subject, monitors, kind, round, settleMs } = of;
  const { probe, beats, guest, address } = subject;
  const { load, name } = of.class;
  const { bootId } = await probe.info();
  await probe.beatStart(address, beats.port);
  if (load !== null) await (load.rateMiBps > 0 ? probe.dirtyStart(load, probeMs) : probe.fill(load.mib, probeMs));
  await sleep(settleMs);
  beats.clear();
  monitors.clear();
  await beats.next(firstBeatMs);
  const before = load === null ? null : await probe.dirtyStatus();
  const enough = new AbortController();
  const writes = load === null || load.rateMiBps === 0 ? null : sharesWritten(probe, load.rateMiBps, enough.signal);
  const began = beatClock();
  let why: string | null = null;
  try {
    await act();
  } catch (error) {
    why = formatError(error);
  }
  const ended = beatClock();
  let lost = false;
  let after: DirtyStatus | null = null;
  try {
    await beats.next(firstBeatMs);
    after = load === null ? null : await probe.dirtyStatus();
    // What comes behind the first beat is part of what is felt.
    await sleep(settleMs);
    await beats.next(firstBeatMs);
  } catch (error) {
    lost = true;
    why ??= formatError(error);
  }
  const until = beatClock();
  enough.abort();
  const written = (await writes) ?? [];
  const heard = monitors.of(guest);
  const report = await beats.report({ from: began, to: until, binMs });
  try {
    await probe.beatStop();
    if (load !== null) {
      await probe.dirtyStop();
      await probe.checksum(probeMs);
    }
    if ((await probe.bootId()) !== bootId) throw new Error("the guest was booted anew");
    if (subject.copies() !== 1) throw new Error(`the guest runs ${subject.copies()} times`);
    if (report.repeated > 0) throw new Error(`${report.repeated} beats came twice`);
  } catch (error) {
    lost = true;
    why ??= formatError(error);
  }
  const pause = kind === "control" ? undefined : pauseIn(heard);
  const firstBeat = pause && (await beats.report({ from: pause.resume })).first;
  const row: MigrationRow = {
    class: name,
    kind,
    round,
    at: new Date().toISOString(),
    ok: why === null && !lost,
    lost,
    why,
    pauseMs: pause === undefined ? null : pause.resume - pause.stop,
    said: pause?.said ?? {},
    beatsLost: report.lost,
    gapMs: report.gaps === undefined ? null : Math.max(0, report.gaps.max - beatMs),
    coldMs: pause === undefined || firstBeat === undefined ? null : firstBeat - pause.resume,
    totalMs: ended - began,
    throughputP5: throughput(report, began, kind === "control" ? undefined : report.longest[0]),
    writesP5: written.length === 0 ? null : quantile(written, 0.05),
    writtenMiBps: before === null || after === null || load?.rateMiBps === 0 ? null : rate(before, after),
  };
  return { row, began, report };
}

function throughput(
  { bins }: BeatReport,
  began: number,
  silence: { at: number; ms: number } | undefined,
): number | null {
  const shares = bins.flatMap(({ beats }, i) => {
    const from = began + i * binMs;
    const silent = silence !== undefined && silence.at < from + binMs && silence.at + silence.ms > from;
    return silent ? [] : [(beats * beatMs) / binMs];
  });
  return shares.length === 0 ? null : quantile(shares, 0.05);
}

/** Of what the guest is to write, how much it did between two looks at its counter; none where it does not answer to the end. */
async function sharesWritten(probe: ProbeClient, rateMiBps: number, enough: AbortSignal): Promise<number[]> {
  const shares: number[] = [];
  try {
    let before = await probe.dirtyStatus(probeMs);
    while (!enough.aborted) {
      await sleep(binMs, enough);
      const now = await probe.dirtyStatus(probeMs);
      shares.push(rate(before, now) / rateMiBps);
      before = now;
    }
  } catch {
    return enough.aborted ? shares : [];
  }
  return shares;
}

function rate(before: DirtyStatus, after: DirtyStatus): number {
  const seconds = (after.elapsedUs - before.elapsedUs) / 1e6;
  return (after.writtenPages - before.writtenPages) / 256 / seconds;
}
