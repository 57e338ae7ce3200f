/**
 * Keeps this host's network as it is wanted: one writer, one pass at a time, level-triggered.
 *
 * A pass reads what the kernel has, computes the commands that are missing (diff.ts, router.ts), runs them in a few batches, and
 * looks after the firewall and the name servers. It runs at the start, when networks or peers change, and every minute against
 * drift. Between passes a guard round brings the firewall alone up to date: one process that writes what changed, for a guest
 * that comes, a rule that changes, a member that moves. Nobody waits for a pass whose network is there already.
 *
 * Who else touches these facts: the kernel (it drops our entries with a device), an operator, and libvirt, which makes a guest's
 * tap on the bridge. A crash at any point leaves a part of the wanted state; the next pass adds the rest.
 */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import type { InstanceSpec, Peer, WantedSubnet } from "../../api/agent.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { Failure } from "../../lib/errors.ts";
import type { InstanceId, SubnetId, VpcId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { backoff } from "../../lib/retry.ts";
import { Rounds } from "../../lib/rounds.ts";
import { run } from "../process.ts";
import type { RouterPlace } from "../metadata/metadata.ts";
import type { DomainNic } from "../vm/domain-xml/nics.ts";
import type { WantedNetwork } from "../wanted/store.ts";
import { readNetwork } from "./actual.ts";
import { announce } from "./announce.ts";
import { forgetConnections, type TrackedNic } from "./connections.ts";
import { diffNetwork, holdsStranger } from "./diff.ts";
import { Dnsmasq } from "./dnsmasq.ts";
import { Filter } from "./filter.ts";
import { hostTable } from "./firewall/host.ts";
import { tapTable } from "./firewall/taps.ts";
import { answerAtOnce, prepareKernel, readResolvers } from "./host.ts";
import { hostsFile } from "./hosts-file.ts";
import { bridgeName, tapName } from "./names.ts";
import { neededNetwork } from "./needed.ts";
import { Places, type Place } from "./places.ts";
import { ReadySwitch } from "./switch.ts";
import { guestNics, planNetwork, type NetworkPlan } from "./plan.ts";
import { readNamespaces } from "./router.ts";
import { Router } from "./routers.ts";
import { Slots } from "./slots.ts";

export interface NetworkOptions {
  readonly directory: string;
  readonly underlayAddress: string;
  readonly underlayDevice: string;
  readonly log: Log;
  /** What VStation wants, read at each round. */
  readonly wanted: () => { network: WantedNetwork | null; peers: readonly Peer[] };
  /** Every instance that lies here, strangers included. */
  readonly guests: () => Iterable<readonly [InstanceId, InstanceSpec]>;
  /** Serves guests in exactly these routers (the metadata service). No start waits for it. */
  readonly serveIn: (routers: readonly RouterPlace[]) => Promise<void>;
}

export class Network {
  readonly #options: NetworkOptions;
  readonly #slots: Slots;
  readonly #places: Places;
  #assigned: ReadonlyMap<string, number> = new Map();
  /** Networks as they were wanted last, kept while an instance needs them. */
  #needed: WantedNetwork = { vpcs: [], subnets: [], securityGroups: [] };
  readonly #routers = new Map<VpcId, Router>();
  readonly #dnsmasq = new Map<VpcId, Dnsmasq>();
  readonly #filters = { host: new Filter(), taps: new Filter() };
  /** Subnets whose bridge and dnsmasq a pass has made, and the VPC of each. */
  #ready = new Map<SubnetId, VpcId>();
  /** What the last whole pass brought about, to compare. */
  #done = "";
  /** The next pass looks at what nothing has changed, too. */
  #looking = true;
  #failures = 0;
  #retry: NodeJS.Timeout | undefined;
  readonly #passes = new Rounds(() => this.#runPass());
  readonly #guards = new Rounds(() => this.#runGuard());

  constructor(options: NetworkOptions) {
    this.#options = options;
    this.#slots = new Slots(join(options.directory, "slots.json"));
    this.#places = new Places(options.underlayAddress);
  }

  /** One pass that begins after this call: joins the one that waits, if any. */
  sync(): Promise<void> {
    return this.#passes.request();
  }

  /** A pass that also repairs what somebody else has changed in places that are not read each time. */
  check(): Promise<void> {
    this.#looking = true;
    return this.sync();
  }

  /** Something that is wanted has changed: as much as that needs, which is often nothing, is done. */
  async changed(): Promise<void> {
    if (this.isBehind) await this.sync();
    else await this.guard();
  }

  /** Those that this host has a part in. */
  get subnets(): readonly WantedSubnet[] {
    return this.#needed.subnets;
  }

  /** Brings the firewall to what is wanted now. No guest may run before its own entries are there. */
  guard(): Promise<void> {
    return this.#guards.request();
  }

  /** Would a pass now want anything else than the last one did? Peers on this very host, for one, change little here. */
  get isBehind(): boolean {
    if (this.#options.wanted().network === null) return false;
    this.#refresh();
    return this.#textOf(this.#plan()) !== this.#done;
  }

  /** Says where a guest is that moves; the next pass goes by it. */
  place(id: InstanceId, place: Place): void {
    this.#places.set(id, place);
  }

  /** The same, and a pass that makes it so: what a quick switch did not, and soon. One that fails is made again by itself. */
  settle(id: InstanceId, place: Place): void {
    this.place(id, place);
    this.sync().catch((error: unknown) => this.#options.log.warn({ err: error }, "the network is not so yet"));
  }

  /**
   * Makes ready to say so at once, for the guest's own addresses and no others: at the hand-over each millisecond is one without the guest.
   * What nobody has yet asked for (an elastic address) and what fails here is done by the pass that has to follow.
   */
  readySwitch(id: InstanceId, place: Place): ReadySwitch {
    return new ReadySwitch(() => {
      this.#places.set(id, place);
      return this.#nics().filter(({ instance }) => instance === id);
    });
  }

  /** Where the connections of each of its NICs are tracked here, in their order; null: nowhere yet. */
  tracked(id: InstanceId): (TrackedNic | null)[] {
    const all = this.#nics();
    const own = all.filter(({ instance }) => instance === id).toSorted((a, b) => a.index - b.index);
    return own.map(({ ip, subnetId }) => {
      const zone = this.#assigned.get(subnetId);
      const here = all.filter(
        ({ instance, subnetId: other, place }) =>
          instance !== id && other === subnetId && (place.is === "here" || place.is === "arrived"),
      );
      return zone === undefined ? null : { ip, zone, neighbours: new Set(here.map((nic) => nic.ip)) };
    });
  }

  /** What is tracked of a guest that is not here any more, before another one has its address. Never rejects. */
  async forgetConnections(id: InstanceId): Promise<void> {
    for (const nic of this.tracked(id)) {
      if (nic === null) continue;
      await forgetConnections(nic).catch((error: unknown) =>
        this.#options.log.warn({ err: error, instance: id }, "a guest's connections were not forgotten"),
      );
    }
  }

  /** Makes an instance's addresses ready and says how its NICs are attached. */
  async ensureGuest(id: InstanceId, spec: InstanceSpec): Promise<DomainNic[]> {
    if (spec.nics.some((nic) => !this.#ready.has(nic.subnetId))) await this.sync();
    return Promise.all(
      spec.nics.map(async (nic, index) => {
        const subnet = this.#needed.subnets.find((one) => one.id === nic.subnetId);
        const vpc = this.#ready.get(nic.subnetId);
        const dnsmasq = vpc && this.#dnsmasq.get(vpc);
        if (subnet === undefined || dnsmasq === undefined) {
          throw new Failure("unavailable", "SubnetUnknown", `subnet ${nic.subnetId} is not known to this host yet`);
        }
        await dnsmasq.addLease(leaseName(id, index), nic);
        crashPoint("network.guest.lease-written");
        return { mac: nic.mac, bridge: bridgeName(nic.subnetId), tap: tapName(id, index), mtu: subnet.mtu };
      }),
    );
  }

  #refresh(): void {
    const { network, peers } = this.#options.wanted();
    this.#places.settle(this.#nics(), peers);
    if (network !== null) this.#needed = neededNetwork(this.#needed, network, this.#nics());
  }

  #nics() {
    return guestNics(this.#options.guests(), this.#places.all);
  }

  #plan(): NetworkPlan {
    const { wanted, underlayAddress, underlayDevice } = this.#options;
    return planNetwork({
      network: this.#needed,
      peers: wanted().peers,
      nics: this.#nics(),
      slots: this.#assigned,
      underlay: { address: underlayAddress, device: underlayDevice },
    });
  }

  #textOf(plan: NetworkPlan): string {
    const { peers } = this.#options.wanted();
    const names = plan.vpcs.map((vpc) => hostsFile(vpc, peers));
    return JSON.stringify([plan, names], (_, value: unknown) =>
      value instanceof Map || value instanceof Set ? [...value] : value,
    );
  }

  async #runPass(): Promise<void> {
    // Nobody has said yet what should be here. What an earlier Compute left works on.
    if (this.#options.wanted().network === null) return;
    const looking = this.#looking;
    this.#looking = false;
    clearTimeout(this.#retry);
    try {
      await this.#bringAbout(looking);
      this.#failures = 0;
    } catch (error) {
      // What was read may have changed meanwhile: links go on their own when a namespace goes. The next one reads anew.
      this.#looking = true;
      this.#retry = setTimeout(
        () => void this.#syncAgain("the host's network"),
        backoff(this.#failures++, 200, 30_000),
      );
      this.#retry.unref();
      throw error;
    }
  }

  async #bringAbout(looking: boolean): Promise<void> {
    this.#refresh();
    this.#assigned = await this.#slots.assign([...this.#needed.vpcs, ...this.#needed.subnets].map(({ id }) => id));
    const plan = this.#plan();
    const text = this.#textOf(plan);
    if (plan.subnets.length > 0) await prepareKernel();
    const device = this.#options.underlayDevice;
    const [actual, namespaces] = await Promise.all([readNetwork(device), readNamespaces()]);

    const routers = await Promise.all(
      plan.vpcs.map(async (vpc) => {
        const router = this.#router(vpc.id);
        await router.open(vpc, namespaces.get(vpc.namespace), looking);
        return router;
      }),
    );
    crashPoint("network.pass.namespaces-made");
    const inside = new Map(routers.flatMap((router) => router.links ?? []));
    const commands = diffNetwork(plan, actual, inside);
    if (commands.ip.length > 0) await run("ip", ["-batch", "-"], { input: lines(commands.ip) });
    crashPoint("network.pass.links-made");
    if (commands.bridge.length > 0) await run("bridge", ["-batch", "-"], { input: lines(commands.bridge) });
    crashPoint("network.pass.entries-made");
    await Promise.all([
      ...routers.map((router) => router.apply()),
      this.#repairFilters(),
      plan.vpcs.some(({ answered }) => answered.size > 0) ? answerAtOnce(device) : undefined,
    ]);
    crashPoint("network.pass.rules-written");
    if (actual.underlay) await announce(actual.underlay, commands.arrived);
    await this.#ensureDnsmasq(plan);
    const places = plan.vpcs.map(({ id, namespace }) => ({ vpc: id, namespace, inode: this.#router(id).inode }));
    void this.#serveIn(places);
    if (!holdsStranger(plan, actual)) await this.#remove(plan, namespaces);
    crashPoint("network.pass.done");
    this.#done = text;
    this.#ready = new Map(plan.vpcs.flatMap((vpc) => vpc.subnets.map(({ id }) => [id, vpc.id] as const)));
  }

  #router(id: VpcId): Router {
    let router = this.#routers.get(id);
    if (router === undefined) this.#routers.set(id, (router = new Router()));
    return router;
  }

  async #serveIn(places: readonly RouterPlace[]): Promise<void> {
    try {
      await this.#options.serveIn(places);
    } catch (error) {
      this.#options.log.error({ err: error }, "the metadata service does not answer in every VPC; tried again soon");
    }
  }

  /** What neither VStation nor an instance needs any more, whoever made it. */
  async #remove(plan: NetworkPlan, namespaces: ReadonlyMap<string, number>): Promise<void> {
    const vpcs = new Set<string>(plan.vpcs.map(({ id }) => id));
    for (const name of await readdir(this.#options.directory)) {
      // A subnet's folder: of an earlier release, which had one dnsmasq for each.
      if (!/^(vpc|subnet)-[a-z0-9]{8}$/.test(name) || vpcs.has(name)) continue;
      const dnsmasq = this.#dnsmasq.get(name as VpcId) ?? this.#newDnsmasq(name);
      await dnsmasq.remove();
      this.#dnsmasq.delete(name as VpcId);
    }
    for (const id of this.#routers.keys()) if (!vpcs.has(id)) this.#routers.delete(id);
    const wanted = new Set(plan.vpcs.map(({ namespace }) => namespace));
    for (const name of namespaces.keys()) if (!wanted.has(name)) await run("ip", ["netns", "delete", name]);
  }

  async #ensureDnsmasq(plan: NetworkPlan): Promise<void> {
    const { peers } = this.#options.wanted();
    const upstream = await readResolvers();
    await Promise.all(
      plan.vpcs.map(async (vpc) => {
        let dnsmasq = this.#dnsmasq.get(vpc.id);
        if (dnsmasq === undefined) this.#dnsmasq.set(vpc.id, (dnsmasq = this.#newDnsmasq(vpc.id)));
        const { inode } = this.#router(vpc.id);
        await dnsmasq.ensure({ vpc, inode, upstream, names: hostsFile(vpc, peers) });
        // Read now and not at the pass's beginning: an instance that came meanwhile has its lease already.
        const subnets = new Set(vpc.subnets.map(({ id }) => id));
        const nics = this.#nics().filter(({ subnetId }) => subnets.has(subnetId));
        await dnsmasq.keepLeases(new Map(nics.map((nic) => [leaseName(nic.instance, nic.index), nic])));
      }),
    );
  }

  #newDnsmasq(name: string): Dnsmasq {
    const { directory, log } = this.#options;
    return new Dnsmasq(join(directory, name), log, () => void this.#syncAgain("a dnsmasq that ended"));
  }

  async #syncAgain(what: string): Promise<void> {
    try {
      await this.sync();
    } catch (error) {
      this.#options.log.error({ err: error }, `${what} could not be brought to what is wanted`);
    }
  }

  /** A guard round that also looks whether somebody else has changed the rules. */
  async #repairFilters(): Promise<void> {
    this.#repairing = true;
    await this.guard();
  }
  #repairing = false;

  async #runGuard(): Promise<void> {
    const { network, peers } = this.#options.wanted();
    if (network === null) return;
    this.#refresh();
    const nics = this.#nics();
    const { host, taps } = this.#filters;
    const tables = [
      [taps, tapTable(nics)],
      [host, hostTable({ plan: this.#plan(), groups: this.#needed.securityGroups, peers, nics })],
    ] as const;
    const repairing = this.#repairing;
    this.#repairing = false;
    await Promise.all(tables.map(([filter, table]) => (repairing ? filter.repair(table) : filter.apply(table))));
    crashPoint("network.guard.written");
  }
}

function leaseName(id: InstanceId, index: number): string {
  return `${id}-${index}`;
}

function lines(commands: readonly string[]): string {
  return commands.map((line) => `${line}\n`).join("");
}
