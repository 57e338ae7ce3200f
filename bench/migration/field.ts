/**
 * What the bench measures on: a lab of two hosts, the link between them shaped, and in it two guests of the same machine, image and size: an
 * instance of VStation, and one that virsh moves (not with pins: it would be in the way). The observer is this machine, which is neither host.
 */
import { BeatListener } from "../../guest/beat-listener.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import type { MigrationPolicy } from "../../src/core/migration/policy.ts";
import type { StoryLineWire } from "../../src/api/native/migrations.ts";
import type { InstanceId, MigrationId } from "../../src/lib/ids.ts";
import { until } from "../../test/until.ts";
import type { BenchOptions } from "../bench.ts";
import { LabSession, type LabHost } from "../lab-session.ts";
import { hostOf, imageId } from "../delivery/guest.ts";
import { linkMiBps, type MigrationClass } from "./classes.ts";
import { layLan, type Lan } from "./lan.ts";
import { shape, unshape } from "./link.ts";
import type { Subject } from "./measure.ts";
import { Monitors } from "./monitors.ts";
import { Pins } from "./pins.ts";
import { Rival, rivalName, type VirshMove } from "./rival.ts";

const patienceMs = 120_000;
const moveMs = 15 * 60_000;

export class Field {
  readonly lab: LabSession;
  readonly monitors: Monitors;
  readonly lan: Lan;
  readonly pins: Pins | undefined;
  readonly #endings: (() => unknown)[];

  private constructor(
    { lab, lan, monitors, pins }: Pick<Field, "lab" | "lan" | "monitors" | "pins">,
    endings: (() => unknown)[],
  ) {
    this.lab = lab;
    this.lan = lan;
    this.monitors = monitors;
    this.pins = pins;
    this.#endings = endings;
  }

  static async layOut({ home, pin }: Pick<BenchOptions, "home" | "pin">): Promise<Field> {
    const endings: (() => unknown)[] = [];
    try {
      const lab = await LabSession.begin({ home, hosts: 2 });
      endings.push(() => lab.end());
      const [one, two] = pairOf(lab);
      for (const [from, to] of [[one, two] as const, [two, one] as const]) {
        await shape(from, to, linkMiBps);
        endings.push(() => unshape(from));
      }
      const lan = await layLan(lab);
      endings.push(() => lan.end());
      const monitors = Monitors.open(lab.hosts);
      endings.push(() => monitors.close());
      const pins = pin ? await Pins.begin(lab) : undefined;
      endings.push(() => pins?.end());
      return new Field({ lab, lan, monitors, pins }, endings);
    } catch (error) {
      await endAll(endings);
      throw error;
    }
  }

  async end(): Promise<void> {
    await endAll(this.#endings);
  }

  async guests(of: MigrationClass): Promise<Guests> {
    return await Guests.start(this, of);
  }
}

/** The two guests of a class. */
export class Guests {
  readonly ours: Subject;
  readonly #theirs: Theirs | undefined;
  readonly #field: Field;
  readonly #id: InstanceId;
  readonly #policy: MigrationPolicy;
  readonly #endings: (() => unknown)[];

  private constructor({ field, id, ours, theirs }: Parts, policy: MigrationPolicy, endings: (() => unknown)[]) {
    this.#field = field;
    this.#policy = policy;
    this.#id = id;
    this.ours = ours;
    this.#theirs = theirs;
    this.#endings = endings;
  }

  static async start(field: Field, of: MigrationClass): Promise<Guests> {
    const endings: (() => unknown)[] = [];
    try {
      return new Guests(await startGuests(field, of, endings), of.policy, endings);
    } catch (error) {
      await endAll(endings);
      throw error;
    }
  }

  get theirs(): Subject {
    return this.#rivalry.subject;
  }

  get #rivalry(): Theirs {
    if (this.#theirs === undefined) throw new Error("virsh has no guest here");
    return this.#theirs;
  }

  /** Ours to the other host, as an operator asks for it; returns with its operation. */
  async moveOurs(): Promise<void> {
    const { cloud } = this.#field.lab;
    const params = { id: this.#id };
    // One try: what is tried again is counted as what it is, a failure.
    await cloud.native.call("instanceMigrate", { params, request: { policy: this.#policy, tries: 1 } });
    await cloud.succeeded([this.#id], moveMs);
  }

  async moveTheirs(how: VirshMove): Promise<void> {
    const { rival } = this.#rivalry;
    const to = this.#field.lab.hosts.find((host) => host !== rival.at);
    if (to === undefined) throw new Error("there is one host only");
    await rival.move(how, to);
  }

  async renewTheirs(): Promise<void> {
    await this.#rivalry.rival.renew();
  }

  /** The newest move of ours that has ended, by the story that VStation keeps of it. */
  async storyOfOurs(): Promise<{ id: MigrationId; lines: StoryLineWire[] } | undefined> {
    const { native } = this.#field.lab.cloud;
    const { migrations } = await native.call("migrationList", { query: { instanceId: [this.#id], limit: 1 } });
    const [newest] = migrations;
    if (newest === undefined) return undefined;
    const { lines } = await native.call("migrationStory", { params: { id: newest.id } });
    return { id: newest.id, lines };
  }

  /** Nothing of the last move is under way, whoever made it; and what is pinned has its place. */
  async rest(): Promise<void> {
    const { cloud } = this.#field.lab;
    await until("both hosts have let go", async () => {
      const query = { instanceId: [this.#id], open: "true" as const };
      return (await cloud.native.call("migrationList", { query })).migrations.length === 0;
    });
    await this.#theirs?.rival.look();
    await this.#field.pins?.settle();
  }

  async end(): Promise<void> {
    await endAll(this.#endings);
  }
}

interface Parts {
  readonly field: Field;
  readonly id: InstanceId;
  readonly ours: Subject;
  readonly theirs: Theirs | undefined;
}

interface Theirs {
  readonly rival: Rival;
  readonly subject: Subject;
}

async function startGuests(
  field: Field,
  { instanceType, name }: MigrationClass,
  endings: (() => unknown)[],
): Promise<Parts> {
  const { lab } = field;
  const { cloud } = lab;
  const wish = { imageId, instanceType, systemDiskType: "CLOUD_PREMIUM" as const, name: `bench-${name}` };
  const { instanceIds } = await cloud.native.call("instanceRun", { request: wish });
  const [id] = instanceIds;
  if (id === undefined) throw new Error("no instance was made");
  endings.push(async () => {
    await cloud.terminate(id);
    await cloud.settled([id], patienceMs);
  });
  await cloud.succeeded([id], patienceMs);
  const instance = await cloud.instance(id);
  const probe = await until("our guest answers", () => ProbeClient.connect(instance.ip), patienceMs);
  endings.push(() => probe.close());
  const theirs =
    field.pins === undefined ? await startTheirs(field, id, await hostOf(lab, instance), endings) : undefined;
  const ours = await subjectOf(lab, { guest: id, probe, address: lab.address }, endings);
  return { field, id, ours, theirs };
}

async function startTheirs(
  { lab, lan }: Field,
  like: InstanceId,
  at: LabHost,
  endings: (() => unknown)[],
): Promise<Theirs> {
  const rival = await Rival.start(lab, lan, like, at);
  endings.push(() => rival.end());
  const { probe } = rival;
  return { rival, subject: await subjectOf(lab, { guest: rivalName, probe, address: lan.address }, endings) };
}

async function subjectOf(
  lab: LabSession,
  of: Pick<Subject, "guest" | "probe" | "address">,
  endings: (() => unknown)[],
): Promise<Subject> {
  const beats = await BeatListener.open({ host: of.address });
  endings.push(() => beats.close());
  const copies = (): number =>
    lab.hosts.flatMap((host) => host.qemus()).filter(({ guest }) => guest === of.guest).length;
  return { ...of, beats, copies };
}

function pairOf(lab: LabSession): [LabHost, LabHost] {
  const [one, two] = lab.hosts;
  if (one === undefined || two === undefined || lab.hosts.length > 2)
    throw new Error("this bench needs a lab of two hosts");
  return [one, two];
}

/** What was begun last first, and each once, whoever asks again. */
async function endAll(endings: (() => unknown)[]): Promise<void> {
  for (let ending = endings.pop(); ending !== undefined; ending = endings.pop()) await ending();
}
