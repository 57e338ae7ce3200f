/** VStation as a child of the lab: its configuration, and how the lab learns that it and its hosts are ready. */
import { createHash, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";
import * as z from "zod";
import { parseId } from "../src/lib/ids.ts";
import { within } from "../src/lib/retry.ts";
import type { vstationConfigSchema } from "../src/vstation/config.ts";
import type { ChildSpec } from "./child.ts";
import { fileAppears } from "./file-appears.ts";
import { writeWhole, type Home } from "./home.ts";
import { joinTokenFile } from "./host/host.ts";
import { guestMtu, type HostPlan, type Plan } from "./plan.ts";
import { postgresUrl } from "./postgres.ts";

const root = join(import.meta.dirname, "..");

function id<K extends "subnet" | "vpc">(kind: K, text: string): NonNullable<ReturnType<typeof parseId<K>>> {
  const parsed = parseId(kind, text);
  if (parsed === undefined) throw new Error(`${text} is no ${kind} id`);
  return parsed;
}

export function writeVStationConfig(home: Home, plan: Plan, hosts: readonly HostPlan[], apiPort: number): void {
  const { guests, underlay } = plan;
  const config: z.input<typeof vstationConfigSchema> = {
    region: "local",
    zone: "local-1",
    database: postgresUrl(home),
    listen: { address: "127.0.0.1", port: apiPort },
    agents: { address: underlay.address, port: plan.agentPort, names: [underlay.address] },
    pkiDir: home.pkiDir,
    imageDir: home.imageDir,
    // A machine of its own mounts nothing of this one: with such hosts cloud disks stay on the host of their first attach.
    ...(hosts.some((host) => host.kind === "nested") ? {} : { sharedDir: home.sharedDir }),
    systemDiskGiB: 50,
    credentialsFile: home.credentialsFile,
    subnet: {
      id: id("subnet", "subnet-lab00001"),
      vpcId: id("vpc", "vpc-lab00001"),
      cidr: guests.cidr,
      gateway: guests.gateway,
      gatewayMac: guests.gatewayMac,
      vni: guests.vni,
      mtu: guestMtu,
      // Each host answers for its guests at the gateway's address and asks the machine's own resolvers.
      dns: [guests.gateway],
      reserved: 10,
      fixedPeers: [{ ip: guests.edge.ip, mac: guests.edge.mac, vtep: underlay.address }],
    },
    elastic: { cidr: underlay.elastic },
    cpuBaseline: "host",
    // Nested hosts' guests, which run by KVM.
    migration: { dirtyRing: true },
    joinTokens: hosts.map((host) => ({
      token: readFileSync(joinTokenFile(home, host.name), "utf8"),
      name: host.name,
      lifetimeSeconds: 7 * 86_400,
    })),
  };
  writeWhole(home.vstationConfigFile, `${JSON.stringify(config, undefined, 2)}\n`, 0o600);
}

export function vstationSpec(home: Home): ChildSpec {
  return {
    name: "vstation",
    command: [
      join(root, "node_modules/.bin/node"),
      join(root, "src/vstation/main.ts"),
      "--config",
      home.vstationConfigFile,
    ],
    logFile: home.log("vstation"),
    namespaced: false,
    politely: "SIGTERM",
    graceMs: 5000,
  };
}

/** SHA-256 of the CA's certificate, once VStation has made it. */
export async function caFingerprint(home: Home, signal: AbortSignal): Promise<string> {
  const file = join(home.pkiDir, "ca.crt");
  await fileAppears(file, signal);
  return createHash("sha256")
    .update(new X509Certificate(readFileSync(file)).raw)
    .digest("hex");
}

const credentialsSchema = z.looseObject({ endpoint: z.string(), nativeEndpoint: z.string(), nativeToken: z.string() });
export type Credentials = z.infer<typeof credentialsSchema>;

/** The credentials file as VStation wrote it. */
export function readCredentials(file: string): Credentials {
  const parsed = credentialsSchema.safeParse(JSON.parse(readFileSync(file, "utf8")));
  if (!parsed.success) throw new Error(`${basename(file)}: ${z.prettifyError(parsed.error)}`);
  return parsed.data;
}

export interface HostState {
  readonly state: string;
  /** When VStation heard of it last. */
  readonly seenAt: Date;
}

const hostsSchema = z.looseObject({
  hosts: z.array(z.looseObject({ name: z.string(), state: z.string(), seenAt: z.coerce.date() })),
});

/** Each host by its name, as VStation tells it; undefined while it does not answer. */
export async function hostStates(credentials: Credentials): Promise<Map<string, HostState> | undefined> {
  let response: Response;
  try {
    response = await within(
      5000,
      "asking VStation for its hosts",
      fetch(`${credentials.nativeEndpoint}/v1/hosts`, {
        headers: { authorization: `Bearer ${credentials.nativeToken}` },
        signal: AbortSignal.timeout(5000),
      }),
    );
  } catch {
    return undefined; // not listening (any more): the supervisor sees why
  }
  if (!response.ok) return undefined;
  const parsed = hostsSchema.parse(await response.json());
  return new Map(parsed.hosts.map(({ name, state, seenAt }) => [name, { state, seenAt }]));
}
