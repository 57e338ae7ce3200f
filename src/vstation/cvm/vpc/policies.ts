/**
 * Policies of security groups. What is said of them is what hosts do: stateful, in order, the first that matches decides, and what
 * none matches is dropped. Templates and IPv6 are refused: a rule that is kept and not enforced would be a hole.
 */
import type {
  AddressTemplateSpecification,
  SecurityGroupPolicy,
  SecurityGroupPolicySet,
  ServiceTemplateSpecification,
} from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_models.js";
import type * as z from "zod";
import { blockText, isIp, looseBlock } from "../../../core/addresses.ts";
import { networkLimits } from "../../../core/network-limits.ts";
import {
  parsePorts,
  portsForm,
  portsText,
  type Policy,
  type PolicyDirection,
  type PolicyProtocol,
} from "../../../core/security-policy.ts";
import type { PolicySet } from "../../cloud/network.ts";
import { action } from "../action.ts";
import { Refusal } from "../error-codes.ts";
import { filters, filterValues } from "../filters.ts";
import { id, ignored, integer, line, list, refused, structure, text, boolean } from "../parameters.ts";
import { vpcTime } from "./values.ts";

const noTemplate = () => refused("UnsupportedOperation", "asks for a template");

const policy = structure<SecurityGroupPolicy>()({
  PolicyIndex: integer(0, networkLimits.policiesPerDirection).optional(),
  Protocol: text(16).optional(),
  Port: text(256, "InvalidParameterValue.Malformed").optional(),
  ServiceTemplate: structure<ServiceTemplateSpecification>()({
    ServiceId: noTemplate(),
    ServiceGroupId: noTemplate(),
  }).optional(),
  CidrBlock: text(18, "InvalidParameterValue.Malformed").optional(),
  Ipv6CidrBlock: refused("UnsupportedOperation", "asks for IPv6"),
  SecurityGroupId: text(64).optional(),
  AddressTemplate: structure<AddressTemplateSpecification>()({
    AddressId: noTemplate(),
    AddressGroupId: noTemplate(),
  }).optional(),
  Action: text(16).optional(),
  PolicyDescription: line(100).optional(),
  ModifyTime: ignored(),
  // The same as PolicyIndex, in other words.
  Priority: ignored(),
});
type GivenPolicy = z.output<typeof policy>;

const policies = () =>
  list(policy, networkLimits.policiesPerDirection, "LimitExceeded.SecurityGroupPolicySet").optional();

const policySet = structure<SecurityGroupPolicySet>()({
  Version: text(15).optional(),
  Egress: policies(),
  Ingress: policies(),
  PolicyStatistics: ignored(),
});
type GivenSet = z.output<typeof policySet>;

export const createSecurityGroupPolicies = action("CreateSecurityGroupPolicies")(
  { SecurityGroupId: id("securityGroup"), SecurityGroupPolicySet: policySet },
  async ({ cloud, caller }, request) => {
    const { direction, given } = oneDirection(request.SecurityGroupPolicySet);
    const positions = new Set(given.map(({ PolicyIndex }) => PolicyIndex));
    if (positions.size > 1) {
      throw new Refusal("InvalidParameterValue", "All policies of one call must have the same `PolicyIndex`, or none.");
    }
    await cloud.network.securityGroups.addPolicies(caller, request.SecurityGroupId, {
      direction,
      policies: given.map(policyOf),
      position: given[0]?.PolicyIndex ?? null,
      version: versionOf(request.SecurityGroupPolicySet),
    });
    return {};
  },
);

export const describeSecurityGroupPolicies = action("DescribeSecurityGroupPolicies")(
  {
    SecurityGroupId: id("securityGroup"),
    Filters: filters(
      [
        "security-group-id",
        "ip",
        "address-module",
        "service-module",
        "protocol-type",
        "port",
        "poly",
        "direction",
        "description",
      ],
      100,
      "InvalidParameter.FilterInvalidKey",
    ),
  },
  async ({ cloud, caller }, request) => {
    const set = await cloud.network.securityGroups.policies(caller, request.SecurityGroupId);
    const keep = filterOf(filterValues(request.Filters));
    return {
      SecurityGroupPolicySet: {
        Version: String(set.version),
        Ingress: shownPolicies(set.ingress).filter((one) => keep(one, "ingress")),
        Egress: shownPolicies(set.egress).filter((one) => keep(one, "egress")),
      },
    };
  },
);

export const modifySecurityGroupPolicies = action("ModifySecurityGroupPolicies")(
  { SecurityGroupId: id("securityGroup"), SecurityGroupPolicySet: policySet, SortPolicys: boolean().optional() },
  async ({ cloud, caller }, request) => {
    const { Ingress, Egress } = request.SecurityGroupPolicySet;
    const version = versionOf(request.SecurityGroupPolicySet);
    // Version 0 takes all policies away, whatever else is said.
    const cleared = version === 0;
    // Both are replaced. The Go SDK leaves an empty list out, so one that is not there is empty; none at all is a mistake.
    if (!cleared && Ingress === undefined && Egress === undefined) {
      throw new Refusal("MissingParameter", "Give `Ingress` and `Egress`: both are replaced. `Version` 0 clears them.");
    }
    await cloud.network.securityGroups.replacePolicies(caller, request.SecurityGroupId, {
      ingress: cleared ? [] : (Ingress ?? []).map(policyOf),
      egress: cleared ? [] : (Egress ?? []).map(policyOf),
      version: cleared ? null : version,
    });
    return {};
  },
);

export const deleteSecurityGroupPolicies = action("DeleteSecurityGroupPolicies")(
  { SecurityGroupId: id("securityGroup"), SecurityGroupPolicySet: policySet },
  async ({ cloud, caller }, request) => {
    const { direction, given } = oneDirection(request.SecurityGroupPolicySet);
    const positions = given.flatMap(({ PolicyIndex }) => (PolicyIndex === undefined ? [] : [PolicyIndex]));
    if (positions.length !== 0 && positions.length !== given.length) {
      throw new Refusal("InvalidParameterValue", "Name policies by `PolicyIndex` or by what they say, not both.");
    }
    await cloud.network.securityGroups.removePolicies(caller, request.SecurityGroupId, {
      direction,
      which: positions.length > 0 ? { positions } : { policies: given.map(policyOf) },
      version: versionOf(request.SecurityGroupPolicySet),
    });
    return {};
  },
);

function versionOf({ Version }: GivenSet): number | null {
  if (Version === undefined || Version === "") return null;
  if (/^\d{1,15}$/.test(Version)) return Number(Version);
  throw new Refusal("InvalidParameterValue.Malformed", "The value of `SecurityGroupPolicySet.Version` is no number.");
}

/** Additions and removals are of one direction. */
function oneDirection({ Ingress = [], Egress = [] }: GivenSet): { direction: PolicyDirection; given: GivenPolicy[] } {
  if (Ingress.length > 0 && Egress.length > 0) {
    throw new Refusal("InvalidParameter.Coexist", "Give `Ingress` or `Egress`, not both.");
  }
  if (Ingress.length + Egress.length === 0) {
    throw new Refusal("MissingParameter", "Give policies in `Ingress` or in `Egress`.");
  }
  return Ingress.length > 0 ? { direction: "ingress", given: Ingress } : { direction: "egress", given: Egress };
}

const protocols: Readonly<Record<string, PolicyProtocol>> = {
  ALL: "all",
  TCP: "tcp",
  UDP: "udp",
  ICMP: "icmp",
  GRE: "gre",
};
const actions: Readonly<Record<string, Policy["action"]>> = { ACCEPT: "accept", DROP: "drop" };

function policyOf(given: GivenPolicy): Policy {
  const malformed = (what: string): Refusal =>
    new Refusal("InvalidParameterValue.Malformed", `The value of a policy's \`${what}\` has the wrong form.`);
  const verdict = own(actions, (given.Action ?? "").toUpperCase());
  if (verdict === undefined) throw new Refusal("InvalidParameterValue", "A policy's `Action` must be ACCEPT or DROP.");
  const protocol = own(protocols, (given.Protocol || "ALL").toUpperCase());
  if (protocol === undefined) {
    throw new Refusal("InvalidParameterValue", "A policy's `Protocol` must be TCP, UDP, ICMP, GRE or ALL.");
  }
  const ports = parsePorts(given.Port || "ALL");
  if (ports === undefined) {
    const must = `must be ALL, or ports ${portsForm}`;
    throw new Refusal("InvalidParameterValue.Malformed", `The value of a policy's \`Port\` ${must}.`);
  }
  if (ports !== null && protocol !== "tcp" && protocol !== "udp") {
    throw new Refusal("InvalidParameterValue.Combination", "Only TCP and UDP have ports.");
  }
  return {
    action: verdict,
    protocol,
    ports,
    peer: peerOf(given, malformed),
    description: given.PolicyDescription ?? "",
  };
}

function peerOf(given: GivenPolicy, malformed: (what: string) => Refusal): Policy["peer"] {
  const { CidrBlock = "", SecurityGroupId = "" } = given;
  if (CidrBlock !== "" && SecurityGroupId !== "") {
    throw new Refusal("InvalidParameter.Coexist", "A policy has a `CidrBlock` or a `SecurityGroupId`, not both.");
  }
  if (SecurityGroupId !== "") {
    const groupId = id("securityGroup").safeParse(SecurityGroupId).data;
    if (groupId === undefined)
      throw new Refusal("InvalidSecurityGroupID.Malformed", "A policy's group is no group's id.");
    return { groupId };
  }
  // An address alone is kept so, and shown so again.
  if (isIp(CidrBlock)) return { cidr: CidrBlock };
  const block = looseBlock(CidrBlock);
  if (block === undefined) {
    throw CidrBlock === ""
      ? new Refusal("MissingParameter", "A policy needs a `CidrBlock` or a `SecurityGroupId`.")
      : malformed("CidrBlock");
  }
  return { cidr: blockText(block) };
}

function own<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}

type Shown = SecurityGroupPolicy &
  Required<
    Pick<SecurityGroupPolicy, "Protocol" | "Port" | "CidrBlock" | "Action" | "SecurityGroupId" | "PolicyDescription">
  >;

/** Every field that clients dereference without looking is there. */
function shownPolicies(given: PolicySet["ingress"]): Shown[] {
  return given.map(({ action: verdict, protocol, ports, peer, description, modifiedAt }, position) => ({
    PolicyIndex: position,
    Protocol: protocol.toUpperCase(),
    Port: ports === null ? "ALL" : portsText(ports),
    ServiceTemplate: { ServiceId: "", ServiceGroupId: "" },
    CidrBlock: "cidr" in peer ? peer.cidr : "",
    Ipv6CidrBlock: "",
    SecurityGroupId: "groupId" in peer ? peer.groupId : "",
    AddressTemplate: { AddressId: "", AddressGroupId: "" },
    Action: verdict === "accept" ? "ACCEPT" : "DROP",
    PolicyDescription: description,
    ModifyTime: vpcTime(modifiedAt),
    Priority: position,
  }));
}

/** Positions are those in the whole list, whatever is shown of it. */
function filterOf(given: ReadonlyMap<string, string[]>): (policy: Shown, direction: PolicyDirection) => boolean {
  const columns: Readonly<Record<string, (policy: Shown, direction: PolicyDirection) => string>> = {
    "security-group-id": (one) => one.SecurityGroupId,
    ip: (one) => one.CidrBlock,
    "address-module": () => "",
    "service-module": () => "",
    "protocol-type": (one) => one.Protocol,
    port: (one) => one.Port,
    poly: (one) => one.Action,
    direction: (_, direction) => direction,
    description: (one) => one.PolicyDescription,
  };
  return (one, direction) =>
    [...given].every(([name, values]) => {
      const value = columns[name]?.(one, direction).toLowerCase() ?? "";
      return values.some((asked) => asked.toLowerCase() === value);
    });
}
