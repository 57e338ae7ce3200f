/**
 * Security policies: the ordered rules of a security group, and what becomes of the order when some are added or removed.
 *
 * For a packet the rules of an instance's groups are read in the groups' order, each group's in its own; the first that matches decides.
 * What none matches is dropped, both ways: a group without rules lets nothing pass. Rules are stateful: the answer to what was let in
 * goes out.
 *
 * Positions are those of the moment, counted from 0; they move with each change. So a change may name the version that it was made
 * for, and is refused when somebody else has changed the group since.
 */
import type { SecurityGroupId } from "../lib/ids.ts";

export const policyDirections = ["ingress", "egress"] as const;
export type PolicyDirection = (typeof policyDirections)[number];
export type PolicyAction = "accept" | "drop";
export const policyProtocols = ["all", "tcp", "udp", "icmp", "gre"] as const;
export type PolicyProtocol = (typeof policyProtocols)[number];

export interface PortRange {
  from: number;
  to: number;
}

/** The other side: a block of addresses (or one alone, without a prefix length), or the members of a group in the same VPC. */
export type PolicyPeer = { readonly cidr: string } | { readonly groupId: SecurityGroupId };

export interface Policy {
  action: PolicyAction;
  protocol: PolicyProtocol;
  /** For tcp and udp; null = all. */
  ports: PortRange[] | null;
  peer: PolicyPeer;
  description: string;
}

/** Port 0 is nobody's: a rule for it would never match, and hide a mistake. */
export const firstPort = 1;
export const lastPort = 65_535;
/** What {@link parsePorts} reads, for people. */
export const portsForm = `such as 22, or 80,443, or 5000-5010, from ${firstPort} to ${lastPort}`;

/** Ranges in one rule. */
export const portRangeLimit = 15;

/** Admits everything, as the group of an account that nobody has changed. */
export const openPolicy: Policy = {
  action: "accept",
  protocol: "all",
  ports: null,
  peer: { cidr: "0.0.0.0/0" },
  description: "",
};

const anyPorts = "all";

/** `all`, `80`, `8000-8010`, or several with commas between them; undefined for anything else, also for a range that is upside down or ends beyond what there is. */
export function parsePorts(text: string): PortRange[] | null | undefined {
  if (text.toLowerCase() === anyPorts) return null;
  const parts = text.split(",");
  if (parts.length > portRangeLimit) return undefined;
  const ranges: PortRange[] = [];
  for (const part of parts) {
    const match = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim());
    if (match === null) return undefined;
    const from = Number(match[1]);
    const to = Number(match[2] ?? match[1]);
    if (from < firstPort || from > to || to > lastPort) return undefined;
    ranges.push({ from, to });
  }
  return ranges;
}

export function portsText(ports: readonly PortRange[] | null): string {
  if (ports === null) return anyPorts;
  return ports.map(({ from, to }) => (from === to ? String(from) : `${from}-${to}`)).join(",");
}

/** Puts new rules in front of the one that is at `position` now; at or past the end they come last. */
export function insertPolicies<T>(present: readonly T[], added: readonly T[], position: number): T[] {
  return [...present.slice(0, position), ...added, ...present.slice(position)];
}

/** Takes out the rules at these positions; undefined when one of them is not there. */
export function removePolicies<T>(present: readonly T[], positions: readonly number[]): T[] | undefined {
  if (positions.some((position) => position < 0 || position >= present.length)) return undefined;
  return present.filter((_, position) => !positions.includes(position));
}

/** The positions of the rules that say the same as these, whatever their description; undefined when one is not there. */
export function findPolicies(present: readonly Policy[], named: readonly Policy[]): number[] | undefined {
  const identities = present.map(policyIdentity);
  const found = named.map((one) => identities.indexOf(policyIdentity(one)));
  return found.includes(-1) ? undefined : [...new Set(found)];
}

/** True if two rules of one list say the same: the second could never matter. */
export function hasDuplicate(policies: readonly Policy[]): boolean {
  return new Set(policies.map(policyIdentity)).size < policies.length;
}

function policyIdentity({ action, protocol, ports, peer }: Policy): string {
  const other = "cidr" in peer ? `${peer.cidr}${peer.cidr.includes("/") ? "" : "/32"}` : peer.groupId;
  return JSON.stringify([action, protocol, portsText(ports), other]);
}
