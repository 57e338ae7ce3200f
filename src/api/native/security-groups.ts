/** Security groups and their rules in the native API. What a rule means, and why the order counts: src/core/security-policy.ts. */
import * as z from "zod";
import { isIp, parseBlock } from "../../core/addresses.ts";
import { networkLimits } from "../../core/network-limits.ts";
import { firstPort, lastPort, policyDirections, policyProtocols, portRangeLimit } from "../../core/security-policy.ts";
import { idSchema } from "../../lib/ids.ts";
import { networkName, paramsOf, queryOf, shown } from "./network.ts";
import { tags } from "./requests.ts";
import { counter, doneAnswer, time, total } from "./resources.ts";
import { route } from "./route.ts";

const description = z
  .string()
  .max(100)
  .regex(/^\P{Cc}*$/u, "holds control characters");
const port = z.int().min(firstPort).max(lastPort);

const peer = z
  .union([
    z.strictObject({
      cidr: z
        .string()
        .max(18)
        .refine(
          (text) => isIp(text) || parseBlock(text) !== undefined,
          "neither an address nor a block without host bits",
        ),
    }),
    z.strictObject({ securityGroupId: idSchema("securityGroup") }),
  ])
  .describe("The other side: addresses, or the members of a group in the same VPC.");

const ruleRequest = z
  .strictObject({
    action: z.enum(["accept", "drop"]),
    protocol: z.enum(policyProtocols),
    ports: z
      .array(z.strictObject({ from: port, to: port }).refine(({ from, to }) => from <= to, "ends before it begins"))
      .min(1)
      .max(portRangeLimit)
      .nullable()
      .default(null)
      .describe("For tcp and udp; null: all."),
    peer,
    description: description.default(""),
  })
  .refine(
    ({ ports, protocol }) => ports === null || protocol === "tcp" || protocol === "udp",
    "only tcp and udp have ports",
  )
  .meta({ id: "SecurityRuleRequest" });

const change = {
  direction: z.enum(policyDirections),
  rules: z.array(ruleRequest).min(1).max(networkLimits.policiesPerDirection).describe("All of them or none."),
  version: counter.nullable().default(null).describe("Refuse when the group has been changed since this version."),
};

const ruleSchema = z
  .object({
    action: z.enum(["accept", "drop"]),
    protocol: z.enum(policyProtocols),
    ports: z.array(z.object({ from: counter, to: counter })).nullable(),
    peer: z.union([z.object({ cidr: z.string() }), z.object({ securityGroupId: idSchema("securityGroup") })]),
    description: z.string(),
    modifiedAt: time,
  })
  .meta({ id: "SecurityRule" });

const securityGroupSchema = z
  .object({
    ...shown("securityGroup"),
    description: z.string(),
    isDefault: z.boolean().describe("Instances of the account that name no group are in it."),
    updatedAt: time,
  })
  .meta({ id: "SecurityGroup" });

const rules = z.array(ruleSchema);
const securityGroupRulesSchema = securityGroupSchema
  .extend({
    version: counter,
    ingress: rules.describe("In their order: the first that matches decides, and what none matches is dropped."),
    egress: rules,
    uses: z.object({ instances: counter, groups: counter }).describe("Who is in it, and whose rules name it."),
  })
  .meta({ id: "SecurityGroupWithRules" });

export type SecurityGroupWire = z.infer<typeof securityGroupSchema>;
export type SecurityGroupRulesWire = z.infer<typeof securityGroupRulesSchema>;
export type SecurityRuleWire = z.infer<typeof ruleSchema>;
export type SecurityRuleRequest = z.output<typeof ruleRequest>;

export const securityGroupRoutes = {
  securityGroupList: route({
    method: "GET",
    path: "/v1/security-groups",
    tag: "security groups",
    summary: "Lists security groups, oldest first",
    query: z.strictObject(queryOf("securityGroup")),
    response: z.object({ total, securityGroups: z.array(securityGroupSchema) }),
  }),
  securityGroupGet: route({
    method: "GET",
    path: "/v1/security-groups/{id}",
    tag: "security groups",
    summary: "Shows a security group, its rules and its uses",
    params: paramsOf("securityGroup"),
    response: securityGroupRulesSchema,
    errors: ["not_found"],
  }),
  securityGroupCreate: route({
    method: "POST",
    path: "/v1/security-groups",
    tag: "security groups",
    summary: "Makes a security group, which lets nothing pass until it has rules",
    request: z
      .strictObject({ name: networkName, description: description.default(""), tags: tags.default({}) })
      .meta({ id: "SecurityGroupCreateRequest" }),
    response: securityGroupSchema,
    status: 201,
    errors: ["limit"],
  }),
  securityGroupModify: route({
    method: "PATCH",
    path: "/v1/security-groups/{id}",
    tag: "security groups",
    summary: "Changes a security group's name or description",
    params: paramsOf("securityGroup"),
    request: z
      .strictObject({ name: networkName.optional(), description: description.optional() })
      .meta({ id: "SecurityGroupChangeRequest" }),
    response: securityGroupSchema,
    errors: ["not_found"],
  }),
  securityGroupAddRules: route({
    method: "POST",
    path: "/v1/security-groups/{id}/rules",
    tag: "security groups",
    summary: "Adds rules to a security group; they hold for its members at once",
    params: paramsOf("securityGroup"),
    request: z
      .strictObject({
        ...change,
        position: counter.nullable().default(null).describe("In front of the rule that is there now; null: last."),
      })
      .meta({ id: "SecurityRulesAddRequest" }),
    response: securityGroupRulesSchema,
    errors: ["not_found", "conflict", "limit"],
  }),
  securityGroupRemoveRules: route({
    method: "POST",
    path: "/v1/security-groups/{id}/rules/remove",
    tag: "security groups",
    summary: "Takes rules from a security group that say the same as these, whatever their description",
    params: paramsOf("securityGroup"),
    request: z.strictObject(change).meta({ id: "SecurityRulesRemoveRequest" }),
    response: securityGroupRulesSchema,
    errors: ["not_found", "conflict"],
  }),
  securityGroupDelete: route({
    method: "DELETE",
    path: "/v1/security-groups/{id}",
    tag: "security groups",
    summary: "Deletes a security group in which no instance is and that no other group's rule names",
    params: paramsOf("securityGroup"),
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
};
