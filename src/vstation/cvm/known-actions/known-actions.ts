/**
 * The services of Tencent Cloud API 3.0 that clients of CVM call beside it (the Terraform provider's instance alone calls all
 * four), with their versions and the names of all their actions. No two services have an action of one name, so the name alone says
 * which service is meant, whatever host name a client used.
 *
 * Those actions that ../actions.ts does not offer are answered with `UnsupportedOperation`, all other names with `InvalidAction`.
 */
import type { Client as CbsClient } from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/v20170312/cbs_client.js";
import type { Client as CvmClient } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_client.js";
import type { Client as TagClient } from "tencentcloud-sdk-nodejs/tencentcloud/services/tag/v20180813/tag_client.js";
import type { Client as VpcClient } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/v20170312/vpc_client.js";
import { cbsActions } from "./cbs.ts";
import { cvmActions } from "./cvm.ts";
import { tagActions } from "./tag.ts";
import { vpcActions } from "./vpc.ts";

/** In the order in which documents show them. */
export const services = {
  cvm: { title: "CVM", version: "2017-03-12", actions: cvmActions },
  vpc: { title: "VPC", version: "2017-03-12", actions: vpcActions },
  cbs: { title: "CBS", version: "2017-03-12", actions: cbsActions },
  tag: { title: "Tag", version: "2018-08-13", actions: tagActions },
} as const;
export type Service = keyof typeof services;

export type ActionName<S extends Service = Service> = (typeof services)[S]["actions"][number];

/** The methods of the SDK's clients for the actions of all services, as one type. */
export type Clients = Pick<CvmClient, ActionName<"cvm">> &
  Pick<VpcClient, ActionName<"vpc">> &
  Pick<CbsClient, ActionName<"cbs">> &
  Pick<TagClient, ActionName<"tag">>;

const serviceByAction: ReadonlyMap<string, Service> = new Map(
  (Object.keys(services) as Service[]).flatMap((service) =>
    services[service].actions.map((name) => [name, service] as const),
  ),
);

/** Undefined for a name that no service has. */
export function serviceOf(action: string): Service | undefined {
  return serviceByAction.get(action);
}
