/** Elastic addresses in the native API: an account's own addresses towards the outside, and those that came with instances. */
import * as z from "zod";
import { idSchema } from "../../lib/ids.ts";
import { networkName, paramsOf, queryOf, shown } from "./network.ts";
import { clientToken, several, tags } from "./requests.ts";
import { counter, doneAnswer, total } from "./resources.ts";
import { route } from "./route.ts";

const elasticAddressSchema = z
  .object({
    ...shown("elasticAddress"),
    ip: z.ipv4(),
    kind: z.enum(["eip", "wan"]).describe("`eip`: the account's until released; `wan`: goes with its instance."),
    instanceId: idSchema("instance").nullable(),
    privateIp: z.ipv4().nullable().describe("What it is translated to."),
    bandwidthMbps: counter.describe("Kept and shown; nothing is slowed down to it."),
  })
  .meta({ id: "ElasticAddress" });

export type ElasticAddressWire = z.infer<typeof elasticAddressSchema>;

const params = paramsOf("elasticAddress");

export const elasticAddressRoutes = {
  elasticAddressList: route({
    method: "GET",
    path: "/v1/elastic-addresses",
    tag: "elastic addresses",
    summary: "Lists elastic addresses, oldest first",
    query: z.strictObject({
      ...queryOf("elasticAddress"),
      ip: several(z.ipv4()),
      instanceId: several(idSchema("instance")),
    }),
    response: z.object({ total, elasticAddresses: z.array(elasticAddressSchema) }),
  }),
  elasticAddressAllocate: route({
    method: "POST",
    path: "/v1/elastic-addresses",
    tag: "elastic addresses",
    summary: "Takes addresses from the zone's pool",
    request: z
      .strictObject({
        count: z.int().min(1).max(20).default(1),
        name: networkName.default("unnamed"),
        bandwidthMbps: z.int().min(1).max(65_535).default(100),
        tags: tags.default({}),
        clientToken,
      })
      .meta({ id: "ElasticAddressAllocateRequest" }),
    response: z.object({ elasticAddresses: z.array(elasticAddressSchema) }),
    status: 201,
    errors: ["conflict", "limit", "no_capacity"],
  }),
  elasticAddressModify: route({
    method: "PATCH",
    path: "/v1/elastic-addresses/{id}",
    tag: "elastic addresses",
    summary: "Renames an elastic address",
    params,
    request: z.strictObject({ name: networkName }).meta({ id: "ElasticAddressChangeRequest" }),
    response: elasticAddressSchema,
    errors: ["not_found"],
  }),
  elasticAddressAttach: route({
    method: "POST",
    path: "/v1/elastic-addresses/{id}/attach",
    tag: "elastic addresses",
    summary: "Gives an instance the address towards the outside; it may have one",
    params,
    request: z.strictObject({ instanceId: idSchema("instance") }).meta({ id: "ElasticAddressAttachRequest" }),
    response: elasticAddressSchema,
    errors: ["not_found", "conflict"],
  }),
  elasticAddressDetach: route({
    method: "POST",
    path: "/v1/elastic-addresses/{id}/detach",
    tag: "elastic addresses",
    summary: "Takes the address from its instance; it stays the account's",
    params,
    response: elasticAddressSchema,
    errors: ["not_found", "conflict"],
  }),
  elasticAddressRelease: route({
    method: "DELETE",
    path: "/v1/elastic-addresses/{id}",
    tag: "elastic addresses",
    summary: "Gives an address that no instance has back to the zone",
    params,
    response: doneAnswer,
    errors: ["not_found", "conflict"],
  }),
};
