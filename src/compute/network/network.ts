/**
 * Keeps this host's network as it is wanted: one writer, one pass at a time, level-triggered.
 *
 * A pass reads what the kernel has, computes the commands that are missing (diff.ts), runs them in two batches, and looks after
 * dnsmasq and the firewall. It runs at the start, when subnets or peers change, and every minute against drift. A pass on an
 * unchanged host runs three reading commands and nothing else.
 *
 * Who else touches these facts: the kernel (it drops our entries with a device), an operator, and libvirt, which makes a guest's
 * tap on the bridge. A crash at any point leaves a part of the wanted state; the next pass adds the rest.
 *
 * A subnet that VStation does not name any more is kept as long as an instance of it lies here: bookkeeping cuts no guest off.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { InstanceSpec, Peer, WantedSubnet } from "../../api/agent.ts";
import { crashPoint } from "../../lib/crash-point.ts";
import { Failure, wrap } from "../../lib/errors.ts";
import type { InstanceId, SubnetId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import { run } from "../process.ts";
import type { DomainNic } from "../vm/domain-xml/nics.ts";
import type { WantedNetwork } from "../wanted/store.ts";
import { readNetwork } from "./actual.ts";
import { diffNetwork } from "./diff.ts";
import { Dnsmasq } from "./dnsmasq.ts";
import { firewallRules, tableName } from "./firewall.ts";
import { bridgeName, planNetwork, tapName, type NetworkPlan } from "./plan.ts";

export interface NetworkOptions {
  readonly directory: string;
  readonly underlayAddress: string;
  readonly underlayDevice: string;
  readonly direct: readonly string[];
  readonly log: Log;
  /** What VStation wants, read at each pass. */
  readonly wanted: () => { network: WantedNetwork | null; peers: readonly Peer[] };
  /** Every instance that lies here, strangers included. */
  readonly guests: () => Iterable<readonly [InstanceId, InstanceSpec]>;
}

export class Network {
  readonly #options: NetworkOptions;
  /** Subnets as they were wanted last, kept while an instance needs them. */
  #subnets = new Map<SubnetId, WantedSubnet>();
  #dnsmasq = new Map<SubnetId, Dnsmasq>();
  /** Subnets whose bridge and dnsmasq a pass has made. */
  #ready = new Set<SubnetId>();
  #firewall: { text: string; listed: string } | null = null;
  /** What the last whole pass brought about, to compare. */
  #done = "";
  #pass: Promise<void> | null = null;
  #again: Promise<void> | null = null;

  constructor(options: NetworkOptions) {
    this.#options = options;
  }

  /** One pass that begins after this call: joins the one that waits, if any. */
  sync(): Promise<void> {
    if (this.#pass === null) {
      this.#pass = this.#runPass().finally(() => (this.#pass = null));
      return this.#pass;
    }
    this.#again ??= this.#pass
      .catch(() => undefined)
      .then(() => {
        this.#again = null;
        return this.sync();
      });
    return this.#again;
  }

  /** Would a pass now want anything else than the last one did? Peers on this very host, for one, change nothing here. */
  get isBehind(): boolean {
    return textOf(this.#plan()) !== this.#done;
  }

  /** Makes an instance's addresses ready and says how its NICs are attached. */
  async ensureGuest(id: InstanceId, spec: InstanceSpec): Promise<DomainNic[]> {
    if (spec.nics.some((nic) => !this.#ready.has(nic.subnetId))) await this.sync();
    return Promise.all(
      spec.nics.map(async (nic, index) => {
        const subnet = this.#subnets.get(nic.subnetId);
        const dnsmasq = this.#dnsmasq.get(nic.subnetId);
        if (subnet === undefined || dnsmasq === undefined || !this.#ready.has(nic.subnetId)) {
          throw new Failure("unavailable", "SubnetUnknown", `subnet ${nic.subnetId} is not known to this host yet`);
        }
        await dnsmasq.addLease(leaseName(id, index), nic);
        crashPoint("network.guest.lease-written");
        return { mac: nic.mac, bridge: bridgeName(nic.subnetId), tap: tapName(id, index), mtu: subnet.mtu };
      }),
    );
  }

  #plan(): NetworkPlan {
    const { wanted, underlayAddress, underlayDevice, direct } = this.#options;
    return planNetwork([...this.#subnets.values()], wanted().peers, { underlayAddress, underlayDevice, direct });
  }

  async #runPass(): Promise<void> {
    const { wanted, guests } = this.#options;
    const { network } = wanted();
    // Nobody has said yet what should be here. What an earlier Compute left works on.
    if (network === null) return;
    const { subnets } = network;
    const used = new Set([...guests()].flatMap(([, spec]) => spec.nics.map((nic) => nic.subnetId)));
    const named = new Set(subnets.map((s) => s.id));
    const kept = [...this.#subnets.values()].filter((s) => used.has(s.id) && !named.has(s.id));
    this.#subnets = new Map([...subnets, ...kept].map((s) => [s.id, s]));
    const plan = this.#plan();

    if (plan.subnets.length > 0) await enableForwarding();
    const commands = diffNetwork(plan, await readNetwork());
    if (commands.ip.length > 0) await run("ip", ["-batch", "-"], { input: lines(commands.ip) });
    crashPoint("network.pass.links-made");
    if (commands.bridge.length > 0) await run("bridge", ["-batch", "-"], { input: lines(commands.bridge) });
    crashPoint("network.pass.entries-made");
    await Promise.all([this.#ensureFirewall(firewallRules(plan)), this.#ensureDnsmasq()]);
    crashPoint("network.pass.done");
    this.#done = textOf(plan);
    this.#ready = new Set(this.#subnets.keys());
  }

  async #ensureDnsmasq(): Promise<void> {
    for (const [id, dnsmasq] of this.#dnsmasq) {
      if (this.#subnets.has(id)) continue;
      await dnsmasq.remove();
      this.#dnsmasq.delete(id);
    }
    await Promise.all(
      [...this.#subnets.values()].map(async (subnet) => {
        let dnsmasq = this.#dnsmasq.get(subnet.id);
        if (dnsmasq === undefined) {
          dnsmasq = new Dnsmasq(
            join(this.#options.directory, subnet.id),
            this.#options.log,
            () => void this.#syncAgain(),
          );
          this.#dnsmasq.set(subnet.id, dnsmasq);
        }
        await dnsmasq.ensure(subnet);
        // Read now and not at the pass's beginning: an instance that came meanwhile has its lease already.
        await dnsmasq.keepLeases(new Set(this.#leaseNames(subnet.id)));
      }),
    );
  }

  async #syncAgain(): Promise<void> {
    try {
      await this.sync();
    } catch (error) {
      this.#options.log.error({ err: error }, "a dnsmasq that ended could not be started again");
    }
  }

  *#leaseNames(subnet: SubnetId): Iterable<string> {
    for (const [id, spec] of this.#options.guests()) {
      for (const [index, nic] of spec.nics.entries()) if (nic.subnetId === subnet) yield leaseName(id, index);
    }
  }

  /** Applies the ruleset when it, or what the kernel lists of it, is not what the last pass left. */
  async #ensureFirewall(text: string): Promise<void> {
    if (this.#firewall?.text === text && (await listTable()) === this.#firewall.listed) return;
    await run("nft", ["-f", "-"], { input: text });
    this.#firewall = { text, listed: await listTable() };
  }
}

function textOf(plan: NetworkPlan): string {
  return JSON.stringify(plan, (_, value: unknown) => (value instanceof Map ? [...value] : value));
}

function leaseName(id: InstanceId, index: number): string {
  return `${id}-${index}`;
}

function lines(commands: readonly string[]): string {
  return commands.map((line) => `${line}\n`).join("");
}

async function listTable(): Promise<string> {
  try {
    return await run("nft", ["-s", "list", "table", "inet", tableName]);
  } catch {
    // Not there: never what a pass leaves.
    return "";
  }
}

async function enableForwarding(): Promise<void> {
  try {
    await writeFile("/proc/sys/net/ipv4/ip_forward", "1");
  } catch (error) {
    throw wrap("letting the kernel forward packets (net.ipv4.ip_forward)", error);
  }
}
