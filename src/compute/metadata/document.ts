/**
 * What an instance may learn about itself, as a tree of names: the paths of Tencent Cloud's metadata service, of which the texts of
 * the common ones are the EC2 service's too. Pure. There is nothing in it that its owner did not say or could not see.
 */
import type { InstanceSpec, Place, WantedSubnet } from "../../api/agent.ts";
import { netmask } from "../../core/addresses.ts";
import type { InstanceId, VpcId } from "../../lib/ids.ts";
import { domainUuid } from "../vm/mark.ts";

/** A text, or names in it; a Buffer is handed out as it is. */
export type Entry = string | Buffer | { readonly [name: string]: Entry };

export interface Subject {
  readonly id: InstanceId;
  readonly spec: InstanceSpec;
  /** Those that this host knows. */
  readonly subnets: readonly WantedSubnet[];
  /** null while VStation has not said it. */
  readonly place: Place | null;
}

export function metadata({ id, spec, subnets, place }: Subject): Entry {
  const [first] = spec.nics;
  return {
    latest: {
      "meta-data": {
        "instance-id": id,
        "instance-name": spec.name,
        uuid: domainUuid(id),
        hostname: spec.hostname,
        "local-hostname": spec.hostname,
        ...(first && { "local-ipv4": first.ip, mac: first.mac }),
        ...(first?.elasticIp && { "public-ipv4": first.elasticIp }),
        ...(place && { placement: { region: place.region, zone: place.zone } }),
        network: { interfaces: { macs: Object.fromEntries(spec.nics.map((nic) => [nic.mac, card(nic, subnets)])) } },
        ...(spec.publicKeys.length > 0 && {
          "public-keys": Object.fromEntries(
            spec.publicKeys.map((key, at) => [String(at), { "openssh-key": key.trim() }]),
          ),
        }),
      },
      ...(spec.userData !== null && { "user-data": Buffer.from(spec.userData, "base64") }),
    },
  };
}

function card(nic: InstanceSpec["nics"][number], subnets: readonly WantedSubnet[]): Entry {
  const subnet = subnets.find(({ id }) => id === nic.subnetId);
  return {
    mac: nic.mac,
    "primary-local-ipv4": nic.ip,
    "subnet-id": nic.subnetId,
    ...(subnet && { "vpc-id": subnet.vpcId }),
    ...(nic.elasticIp !== null && { "public-ipv4s": nic.elasticIp }),
    "local-ipv4s": {
      [nic.ip]: {
        "local-ipv4": nic.ip,
        ...(subnet && { gateway: subnet.gateway, "subnet-mask": netmask(subnet.cidr) }),
        ...(nic.elasticIp !== null && { "public-ipv4": nic.elasticIp, "public-ipv4-mode": "NAT" }),
      },
    },
  };
}

/** Whoever has that address in that VPC; undefined: nobody on this host. */
export function subjectAt(
  vpc: VpcId,
  address: string,
  known: Omit<Subject, "id" | "spec"> & { readonly guests: Iterable<readonly [InstanceId, InstanceSpec]> },
): Subject | undefined {
  const { subnets, place } = known;
  const own = new Set(subnets.filter(({ vpcId }) => vpcId === vpc).map(({ id }) => id));
  for (const [id, spec] of known.guests) {
    if (spec.nics.some((nic) => nic.ip === address && own.has(nic.subnetId))) return { id, spec, subnets, place };
  }
  return undefined;
}

/** What a path leads to: a text, or of a folder its names, one in a line and those of folders with a slash. */
export function lookUp(root: Entry, path: string): string | Buffer | undefined {
  let entry: Entry | undefined = root;
  for (const name of path.split("/").filter((part) => part !== "")) {
    if (typeof entry !== "object" || Buffer.isBuffer(entry) || !Object.hasOwn(entry, name)) return undefined;
    entry = entry[name];
  }
  if (entry === undefined || typeof entry === "string" || Buffer.isBuffer(entry)) return entry;
  return Object.entries(entry)
    .map(([name, value]) => (typeof value === "string" || Buffer.isBuffer(value) ? name : `${name}/`))
    .join("\n");
}
