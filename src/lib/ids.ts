/**
 * Ids of distinct types. An id is a prefix and eight lower-case letters or digits, as clients of the CVM API know them
 * (41 bits: the database's unique key decides the rare collision, not hope).
 */
import { randomInt } from "node:crypto";
import * as z from "zod";

const alphabet = "abcdefghijklmnopqrstuvwxyz0123456789";

const prefixes = {
  instance: "ins",
  host: "host",
  image: "img",
  disk: "disk",
  key: "skey",
  group: "ps",
  subnet: "subnet",
  vpc: "vpc",
  routeTable: "rtb",
  securityGroup: "sg",
  elasticAddress: "eip",
  natGateway: "nat",
  snapshot: "snap",
  job: "job",
  migration: "mig",
  operation: "op",
  account: "acct",
} as const;

export type IdKind = keyof typeof prefixes;

/** What people call a thing of this kind, where that is not the kind's own name. */
const words: Partial<Record<IdKind, string>> = {
  vpc: "VPC",
  routeTable: "route table",
  natGateway: "NAT gateway",
  securityGroup: "security group",
  elasticAddress: "elastic address",
};

export function kindWords(kind: IdKind): string {
  return words[kind] ?? kind;
}

export function kindPlural(kind: IdKind): string {
  const one = kindWords(kind);
  return one.endsWith("s") ? `${one}es` : `${one}s`;
}

/** An id that cannot be passed where another kind's id is meant. */
export type Id<K extends IdKind> = string & { readonly __id: K };

export type InstanceId = Id<"instance">;
export type HostId = Id<"host">;
export type ImageId = Id<"image">;
export type DiskId = Id<"disk">;
export type SnapshotId = Id<"snapshot">;
export type JobId = Id<"job">;
export type MigrationId = Id<"migration">;
export type KeyId = Id<"key">;
export type GroupId = Id<"group">;
export type SubnetId = Id<"subnet">;
export type VpcId = Id<"vpc">;
export type RouteTableId = Id<"routeTable">;
export type SecurityGroupId = Id<"securityGroup">;
export type ElasticAddressId = Id<"elasticAddress">;
export type NatGatewayId = Id<"natGateway">;
export type OperationId = Id<"operation">;
export type AccountId = Id<"account">;

export function newId<K extends IdKind>(kind: K): Id<K> {
  let text = `${prefixes[kind]}-`;
  for (let i = 0; i < 8; i++) text += alphabet[randomInt(alphabet.length)];
  return text as Id<K>;
}

/** The id if the text has the form of one of this kind, else undefined. */
export function parseId<K extends IdKind>(kind: K, text: string): Id<K> | undefined {
  return pattern(kind).test(text) ? (text as Id<K>) : undefined;
}

const anyId = new RegExp(`^(?:(?:${Object.values(prefixes).join("|")})-[a-z0-9]{8}|AKID[0-9a-f]{32})$`);

/** A password may look like anything, an id included. */
const secretNames = /password|secretkey|privatekey|userdata|token/i;

/**
 * Every id of ours (and SecretId) among the texts of a value, however deep, at most `limit` of them. Only whole texts count, so
 * nothing else that a request carries can come along.
 */
export function idsIn(value: unknown, limit = 64): string[] {
  const found = new Set<string>();
  const look = (one: unknown, depth: number): void => {
    if (found.size >= limit || depth > 8) return;
    if (typeof one === "string") {
      if (one.length <= 48 && anyId.test(one)) found.add(one);
    } else if (typeof one === "object" && one !== null) {
      for (const [name, inner] of Object.entries(one)) if (!secretNames.test(name)) look(inner, depth + 1);
    }
  };
  look(value, 0);
  return [...found];
}

function pattern(kind: IdKind): RegExp {
  return new RegExp(`^${prefixes[kind]}-[a-z0-9]{8}$`);
}

/** A schema that accepts only ids of this kind and types them so. */
export function idSchema<K extends IdKind>(kind: K): z.ZodType<Id<K>, string> {
  return z.string().regex(pattern(kind), `an id such as ${prefixes[kind]}-1a2b3c4d`) as unknown as z.ZodType<
    Id<K>,
    string
  >;
}
