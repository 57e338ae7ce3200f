/**
 * The guest that moves: it writes memory and disk all the time, knows its boot, and its disk is watched from outside. One for many
 * cases; it stays where the last one left it.
 */
import { join } from "node:path";
import { ProbeClient } from "../../../guest/probe-client.ts";
import { imageId, instanceType } from "../../../bench/delivery/guest.ts";
import type { LabHost, LabSession } from "../../../bench/lab-session.ts";
import type { MigrationWire } from "../../../src/api/native/migrations.ts";
import type { InstanceId } from "../../../src/lib/ids.ts";
import { Writers } from "../../oracle/writers.ts";
import { expectThat, until } from "../../until.ts";
import { patienceMs } from "../bed.ts";
import { insist, removeSubject } from "../requests.ts";
import { differencesOf, snapshot } from "../snapshot.ts";

/** A move under faults: doubts, heartbeats and leases that run out one after the other. */
const moveMs = 300_000;

export class Mover {
  readonly #lab: LabSession;
  readonly id: InstanceId;
  readonly #ip: string;
  readonly #disk: string;
  readonly bootId: string;
  /** What everything looks like while it rests there, by the host's name. */
  readonly #atRest = new Map<string, readonly string[]>();

  private constructor(lab: LabSession, id: InstanceId, ip: string, disk: string, bootId: string) {
    this.#lab = lab;
    this.id = id;
    this.#ip = ip;
    this.#disk = disk;
    this.bootId = bootId;
  }

  /** It has been moved there and back before this resolves, so each place is known as it should look. */
  static async begin(lab: LabSession): Promise<Mover> {
    const [id] = await lab.cloud.run({ name: "mover", imageId, instanceType, diskType: "CLOUD_PREMIUM" });
    if (id === undefined) throw new Error("RunInstances returned no id");
    await lab.cloud.succeeded([id], patienceMs);
    const { ip, systemDisk } = await lab.cloud.instance(id);
    const disk = join(lab.lab.home.sharedDir, "disks", `${systemDisk.id}.qcow2`);
    const probe = await until(`${id} answers`, () => ProbeClient.connect(ip), patienceMs);
    try {
      await probe.dirtyStart({ mib: 24, rateMiBps: 4 });
      await probe.recordsStart(5_000);
      const mover = new Mover(lab, id, ip, disk, await probe.bootId());
      for (let turn = 0; turn < 2; turn++) {
        const { to } = await mover.ends();
        await mover.ended(await mover.send(to));
        mover.#atRest.set(to.name, await mover.#atRestOn(to));
      }
      return mover;
    } finally {
      probe.close();
    }
  }

  /** What is cleared up after a move is so in its own time: at rest no host but its own speaks of it. */
  #atRestOn(host: LabHost): Promise<readonly string[]> {
    return until(
      `only ${host.name} has something of ${this.id}`,
      async () => {
        const lines = await snapshotOf(this.#lab);
        const strays = lines.filter((line) => /^host\d+: (file|process)/.test(line) && line.includes(this.id));
        const elsewhere = strays.filter((line) => !line.startsWith(`${host.name}: `));
        expectThat(elsewhere.length === 0, elsewhere.join("\n"));
        return lines;
      },
      60_000,
    );
  }

  watch(): Promise<Writers> {
    return Writers.watch([this.#disk]);
  }

  /** Where it is, and where it can go. */
  async ends(): Promise<{ from: LabHost; to: LabHost }> {
    const { hostId } = await insist(() => this.#lab.cloud.instance(this.id));
    const name = (await insist(() => this.#lab.cloud.hosts())).find((each) => each.id === hostId)?.name;
    const from = this.#lab.hosts.find((each) => each.name === name);
    const to = this.#lab.hosts.find((each) => each.name !== name);
    if (from === undefined || to === undefined) throw new Error(`${this.id} is on ${name ?? "no host"}`);
    return { from, to };
  }

  /** Asks until it is accepted; one that was accepted without an answer counts. */
  async send(to: LabHost): Promise<MigrationWire["id"]> {
    const { native } = this.#lab.cloud;
    const newest = async (): Promise<MigrationWire | undefined> => {
      const query = { instanceId: [this.id], limit: 1 };
      return (await native.call("migrationList", { query })).migrations[0];
    };
    const before = await insist(newest);
    const target = (await insist(() => this.#lab.cloud.hosts())).find(({ name }) => name === to.name);
    return insist(async () => {
      const now = await newest();
      if (now !== undefined && now.id !== before?.id) return now.id;
      // What comes of this one is looked at, and another try of VStation's own would be under way meanwhile.
      const request = { to: target?.id ?? null, tries: 1 };
      return (await native.call("instanceMigrate", { params: { id: this.id }, request })).migrationId;
    });
  }

  async cancel(id: MigrationWire["id"]): Promise<void> {
    await insist(() => this.#lab.cloud.native.call("migrationCancel", { params: { id } }));
  }

  async show(id: MigrationWire["id"]): Promise<MigrationWire> {
    return this.#lab.cloud.native.call("migrationGet", { params: { id } });
  }

  /** Waits until nothing of it is open; it must have ended well, or with a reason. */
  async ended(id: MigrationWire["id"]): Promise<MigrationWire> {
    const over = await until(
      `the end of ${id}`,
      async () => {
        const now = await this.show(id);
        expectThat(now.phase === "ended", JSON.stringify(now));
        return now;
      },
      moveMs,
    );
    const said = over.state === "SUCCEEDED" || (over.state === "FAILED" && (over.error?.message ?? "") !== "");
    expectThat(said, `it ended without a word: ${JSON.stringify(over)}`);
    return over;
  }

  /** The highest record that its disk is known to have, by the guest's own word. */
  async acked(): Promise<number> {
    return this.#ask(async (probe) => (await probe.recordsStatus()).acked);
  }

  /** The same boot, its memory as it was written, and no record gone that the disk was said to have. */
  async checkGuest(acked: number): Promise<void> {
    await this.#ask(async (probe) => {
      const now = await probe.bootId();
      expectThat(now === this.bootId, `${this.id} was started again`);
      await probe.checksum();
      const { acked: later, error } = await probe.recordsStop();
      expectThat(error === "", `a write failed: ${error}`);
      const last = await probe.lastRecord();
      expectThat(
        last >= later && later >= acked,
        `its disk has ${last} of ${later} records; ${acked} were there before`,
      );
      await probe.recordsStart(5_000);
    });
  }

  /** One that was killed and has been started again: its disk must have what it was said to have. */
  async checkDisk(acked: number): Promise<void> {
    const last = await this.#ask((probe) => probe.lastRecord());
    expectThat(last >= acked, `its disk has ${last} of ${acked} records`);
  }

  /** Everything is as it was the last time that it rested here. */
  async checkPlace(): Promise<void> {
    const { from } = await this.ends();
    const before = this.#atRest.get(from.name) ?? [];
    await until(
      `nothing is left of its move to or from ${from.name}`,
      async () => {
        const after = await snapshotOf(this.#lab);
        const left = differencesOf(before, after);
        expectThat(left.length === 0, left.join("\n"));
        return true;
      },
      60_000,
    );
  }

  async remove(): Promise<void> {
    await removeSubject(this.#lab, this.id);
  }

  async #ask<T>(work: (probe: ProbeClient) => Promise<T>): Promise<T> {
    const probe = await until(`${this.id} answers`, () => ProbeClient.connect(this.#ip), patienceMs);
    try {
      return await work(probe);
    } finally {
      probe.close();
    }
  }
}

/** libvirt counts a host's machines in names; and the machine outside has namespaces that come and go, which its hosts see. */
async function snapshotOf(lab: LabSession): Promise<string[]> {
  return (await snapshot(lab))
    .filter((line) => !line.includes("mount nsfs "))
    .map((line) => line.replace(/\b\d+-ins-/, "N-ins-"));
}
