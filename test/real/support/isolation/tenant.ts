/** A tenant with things of every kind, and a digest of everything in the database that is the tenant's. */
import { CommonClient } from "tencentcloud-sdk-nodejs/tencentcloud/common/index.js";
import { sdkConfig } from "../../../../bench/cloud.ts";
import { until } from "../../../until.ts";
import { isRecordLike } from "./record.ts";
import type { Action } from "../../../../src/vstation/cvm/action.ts";
import { offered } from "../../../../src/vstation/cvm/actions.ts";
import { services, type Service } from "../../../../src/vstation/cvm/known-actions/known-actions.ts";
import type { AccountId, IdKind } from "../../../../src/lib/ids.ts";
import { imageId, type TestVstation } from "../vstation.ts";

export interface Outcome {
  /** `ok`, or the code that the action was refused with. */
  code: string;
  /** The answer without its request id, or the error. */
  answer: Record<string, unknown>;
}

interface Maker {
  action: Action["name"];
  parameters(tenant: Tenant, name: string): Promise<object>;
  /** When it may be acted upon. */
  rest: { action: Action["name"]; ids: string; is: RegExp };
}

/** How a tenant comes by a thing of each kind; no two of them share an address range. */
const makers = {
  instance: {
    action: "RunInstances",
    parameters: async (tenant, InstanceName) => ({
      Placement: { Zone: tenant.vstation.config().zone },
      ImageId: imageId,
      InstanceType: "T1.SMALL1",
      InstanceName,
    }),
    rest: { action: "DescribeInstances", ids: "InstanceIds", is: /"LatestOperationState":"SUCCESS"/ },
  },
  key: {
    action: "CreateKeyPair",
    parameters: async (_, KeyName) => ({ KeyName, ProjectId: 0 }),
    rest: { action: "DescribeKeyPairs", ids: "KeyIds", is: /skey-/ },
  },
  group: {
    action: "CreateDisasterRecoverGroup",
    parameters: async (_, Name) => ({ Name, Type: "HOST" }),
    rest: { action: "DescribeDisasterRecoverGroups", ids: "DisasterRecoverGroupIds", is: /ps-/ },
  },
  vpc: {
    action: "CreateVpc",
    parameters: async (_, VpcName) => ({ VpcName, CidrBlock: "10.77.0.0/16" }),
    rest: { action: "DescribeVpcs", ids: "VpcIds", is: /vpc-/ },
  },
  subnet: {
    action: "CreateSubnet",
    parameters: async (tenant, SubnetName) => ({
      VpcId: await tenant.home(),
      SubnetName,
      CidrBlock: `10.77.${/\d+$/.exec(SubnetName)?.[0] ?? "0"}.0/24`,
      Zone: tenant.vstation.config().zone,
    }),
    rest: { action: "DescribeSubnets", ids: "SubnetIds", is: /subnet-/ },
  },
  securityGroup: {
    action: "CreateSecurityGroup",
    parameters: async (_, GroupName) => ({ GroupName, GroupDescription: "" }),
    rest: { action: "DescribeSecurityGroups", ids: "SecurityGroupIds", is: /sg-/ },
  },
  routeTable: {
    action: "CreateRouteTable",
    parameters: async (tenant, RouteTableName) => ({ VpcId: await tenant.make("vpc"), RouteTableName }),
    rest: { action: "DescribeRouteTables", ids: "RouteTableIds", is: /rtb-/ },
  },
  elasticAddress: {
    action: "AllocateAddresses",
    parameters: async () => ({ AddressCount: 1 }),
    rest: { action: "DescribeAddresses", ids: "AddressIds", is: /eip-/ },
  },
  natGateway: {
    action: "CreateNatGateway",
    parameters: async (tenant, NatGatewayName) => ({ VpcId: await tenant.make("vpc"), NatGatewayName }),
    rest: { action: "DescribeNatGateways", ids: "NatGatewayIds", is: /nat-/ },
  },
  disk: {
    action: "CreateDisks",
    parameters: async (tenant, DiskName) => ({
      Placement: { Zone: tenant.vstation.config().zone },
      DiskChargeType: "POSTPAID_BY_HOUR",
      DiskType: "CLOUD_PREMIUM",
      DiskSize: 10,
      DiskName,
    }),
    rest: { action: "DescribeDisks", ids: "DiskIds", is: /"DiskState":"UNATTACHED"/ },
  },
  snapshot: {
    action: "CreateSnapshot",
    parameters: async (tenant, SnapshotName) => ({ DiskId: await tenant.make("disk"), SnapshotName }),
    rest: { action: "DescribeSnapshots", ids: "SnapshotIds", is: /"SnapshotState":"NORMAL"/ },
  },
  image: {
    action: "CreateImage",
    parameters: async (tenant, ImageName) => ({ InstanceId: await tenant.make("instance"), ImageName }),
    rest: { action: "DescribeImages", ids: "ImageIds", is: /"ImageState":"NORMAL"/ },
  },
} as const satisfies Readonly<Partial<Record<IdKind, Maker>>>;

/** Kinds of things that an account has of its own. */
export const ownKinds = Object.keys(makers) as (keyof typeof makers)[];

export class Tenant {
  readonly vstation: TestVstation;
  readonly id: AccountId;
  readonly name: string;
  readonly #clients: Record<Service, CommonClient>;
  #made = 0;
  #home: Promise<string> | undefined;

  private constructor(
    vstation: TestVstation,
    id: AccountId,
    name: string,
    key: { secretId: string; secretKey: string },
  ) {
    this.vstation = vstation;
    this.id = id;
    this.name = name;
    const config = sdkConfig({ ...vstation.credentials, ...key });
    const client = (service: Service) =>
      new CommonClient(config.profile.httpProfile.endpoint, services[service].version, config);
    this.#clients = { cvm: client("cvm"), vpc: client("vpc"), cbs: client("cbs"), tag: client("tag") };
  }

  static async create(vstation: TestVstation, name: string): Promise<Tenant> {
    const { id } = await vstation.native.call("accountCreate", { request: { name } });
    const made = await vstation.native.call("accessKeyCreate", { params: { id }, request: {} });
    return new Tenant(vstation, id, name, { secretId: made.key.secretId, secretKey: made.secretKey });
  }

  async call(action: Action["name"], parameters: object): Promise<Outcome> {
    const service = (Object.keys(offered) as Service[]).find((one) => offered[one].some(({ name }) => name === action));
    try {
      const answer = (await this.#clients[service ?? "cvm"].request(action, parameters)) as Record<string, unknown>;
      const { RequestId: _, ...rest } = answer;
      return { code: "ok", answer: rest };
    } catch (error) {
      const { code, message } = error as { code?: string; message?: string };
      return { code: code ?? "no code", answer: { message } };
    }
  }

  /** The VPC in which all of the tenant's subnets are. */
  home(): Promise<string> {
    return (this.#home ??= this.make("vpc"));
  }

  /** A new thing of this kind, at rest. */
  async make(kind: IdKind): Promise<string> {
    const maker = (makers as Partial<Record<IdKind, Maker>>)[kind];
    if (maker === undefined) throw new Error(`teach support/isolation/tenant.ts to make a ${kind}`);
    const id = await this.#id(maker.action, await maker.parameters(this, `${this.name}_${++this.#made}`));
    await until(`${id} is at rest`, async () => {
      const { answer } = await this.call(maker.rest.action, { [maker.rest.ids]: [id] });
      return maker.rest.is.test(JSON.stringify(answer)) ? true : undefined;
    });
    return id;
  }

  async #id(action: Action["name"], parameters: object): Promise<string> {
    const { code, answer } = await this.call(action, parameters);
    if (code !== "ok") throw new Error(`${action}: ${code} ${JSON.stringify(answer)}`);
    const id = firstId(answer);
    if (id === undefined) throw new Error(`${action} answered without an id: ${JSON.stringify(answer)}`);
    return id;
  }
}

/** The first text in an answer that is an id. */
function firstId(value: unknown): string | undefined {
  if (typeof value === "string") return /^[a-z]{2,9}-[a-z0-9]{8}$/.test(value) ? value : undefined;
  if (!isRecordLike(value)) return undefined;
  for (const inner of Object.values(value)) {
    const id = firstId(inner);
    if (id !== undefined) return id;
  }
  return undefined;
}

/** What changes by itself, whoever asks: what hosts report, and what is noted of calls. */
const restless = new Set(["seen_at", "due_at", "last_used_at", "seen_generation", "generation", "seen"]);
const logs = new Set(["audit", "event"]);

/**
 * Every row that is the account's, by table: those that carry its id, and those that hang on such a row by a foreign key, however
 * far. Read from the database's own description, so a table that is added later is in it.
 */
export async function digestOf(vstation: TestVstation, account: AccountId): Promise<Record<string, string>> {
  const columns = await vstation.sql<{ table_name: string; column_name: string }>(
    "select table_name, column_name from information_schema.columns where table_schema = 'public' order by ordinal_position",
  );
  const links = await vstation.sql<{ child: string; parent: string; pairs: string[][] }>(`
    select c.conrelid::regclass::text as child, c.confrelid::regclass::text as parent,
      (select jsonb_agg(jsonb_build_array(a.attname, b.attname)) from unnest(c.conkey, c.confkey) k(x, y)
        join pg_attribute a on a.attrelid = c.conrelid and a.attnum = k.x
        join pg_attribute b on b.attrelid = c.confrelid and b.attnum = k.y) as pairs
    from pg_constraint c where c.contype = 'f'`);
  const of = (table: string): string[] =>
    columns.filter((one) => one.table_name === table).map((one) => one.column_name);
  const owned = new Map<string, string>();
  const tables = [...new Set(columns.map(({ table_name }) => table_name))].filter((table) => !logs.has(table));
  for (const table of tables) {
    if (table === "account") owned.set(table, "account.id = $1");
    else if (of(table).includes("account_id")) owned.set(table, `${table}.account_id = $1`);
  }
  for (let grown = true; grown;) {
    grown = false;
    for (const { child, parent, pairs } of links) {
      const condition = owned.get(parent);
      if (condition === undefined || parent === "account" || owned.has(child) || logs.has(child)) continue;
      const joined = pairs.map(([a, b]) => `${parent}.${b ?? ""} = ${child}.${a ?? ""}`).join(" and ");
      owned.set(child, `exists (select from ${parent} where ${joined} and ${condition})`);
      grown = true;
    }
  }
  const digest: Record<string, string> = {};
  for (const [table, condition] of owned) {
    const kept = of(table).filter((column) => !restless.has(column));
    const [row] = await vstation.sql<{ digest: string | null }>(
      `select string_agg(t::text, e'\\n' order by t::text) as digest
       from (select ${kept.map((column) => `"${column}"`).join(", ")} from ${table} where ${condition}) t`,
      [account],
    );
    digest[table] = row?.digest ?? "";
  }
  return digest;
}
