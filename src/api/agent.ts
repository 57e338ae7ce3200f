/**
 * The contract between VStation and Compute: JSON messages on one WebSocket over mutual TLS, dialled by the host.
 *
 * Who owns what. VStation alone writes what is **wanted** (power, place, spec), stamped with the host's generation, a counter
 * that each committed change of anything this host should know advances. Compute alone writes what is **seen**. Both sides are
 * level-triggered: `wanted` says "since generation G", `seen` says what is true now; either may be sent again, late, or whole
 * (`full: true`) without harm. The connection carries no truth: after a reconnect Compute says hello with the generation it
 * has, gets what changed since (or everything), and posts everything it sees.
 *
 * What can race. An instance that moved from host A to B exists at A as wanted `gone` at an older epoch; A must refuse to start
 * it and B must not be told to start it before A's end is proven. The epoch in every start is that proof's number.
 */
import * as z from "zod";
import { cpuBaselineSchema, machineSchema, plainPromise } from "../core/machine.ts";
import { migrationTransports, mostConnections } from "../core/migration/halves.ts";
import { hostNameSchema } from "../core/names.ts";
import { idSchema } from "../lib/ids.ts";
import { seenMigrationSchema, wantedSourceSchema, wantedTargetSchema } from "./agent-migration.ts";
import { preflightAsks } from "./agent-preflight.ts";
import { dataDiskSchema, seenDiskSchema, seenJobSchema, systemDiskSchema, wantedJobSchema } from "./agent-storage.ts";

/** Raised when a message changes meaning; hello carries it and both sides refuse what they do not speak. */
export const agentProtocol = 3;

const counter = z.int().nonnegative();
const text = (max: number): z.ZodString => z.string().max(max);

/* ---------------------------------------------------------------- wanted: VStation -> Compute */

export const nicSchema = z.strictObject({
  mac: z.string().regex(/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/, "a MAC address such as 02:00:00:00:00:01"),
  /** Address without prefix length. */
  ip: z.ipv4(),
  subnetId: idSchema("subnet"),
  /**
   * In order: the rules of the first group come before those of the second, and the first rule that matches decides. What no rule
   * matches is dropped, in both directions; so with no group nothing passes.
   */
  securityGroupIds: z.array(idSchema("securityGroup")).max(16).default([]),
  /** An address of the underlay that is translated to and from this one, wherever the instance is. */
  elasticIp: z.ipv4().nullable().default(null),
});

/** A password for the guest, from its next start on. */
export const loginSchema = z.strictObject({
  /** null: the user that the image names as its default. */
  user: text(32).nullable(),
  /** As in /etc/shadow. */
  passwordHash: text(256),
});

export const instanceSpecSchema = z.strictObject({
  /** What the tenant calls it; goes into the libvirt title, never into a path. */
  name: text(256),
  hostname: text(64),
  vcpus: z.int().min(1).max(512),
  memoryMiB: z.int().min(64),
  imageId: idSchema("image"),
  systemDisk: systemDiskSchema,
  dataDisks: z.array(dataDiskSchema).max(21).default([]),
  nics: z.array(nicSchema).max(8),
  /** Raw bytes in base64, handed to the guest as they are (NoCloud user-data). */
  userData: text(22_000).nullable(),
  publicKeys: z.array(text(4096)).max(20),
  login: loginSchema.nullable().optional(),
  machine: machineSchema.default({ ...plainPromise, baseline: "host" }),
});

/**
 * `incarnation` counts starts: `running` with incarnation k means "the guest of the k-th start should run". When that guest has
 * ended by itself Compute does not start it again: it reports `exited` with k, and VStation alone decides on k + 1 (restart policy).
 * So a start never happens twice, however often the message arrives. `resets` counts reboots of that incarnation the same way.
 */
export const powerSchema = z.discriminatedUnion("state", [
  z.strictObject({ state: z.literal("running"), incarnation: counter.min(1), resets: counter }),
  z.strictObject({ state: z.literal("stopped"), how: z.enum(["soft", "soft_first", "hard"]) }),
  /** Nothing of it may remain on this host: domain, disks, seed, log. */
  z.strictObject({ state: z.literal("gone") }),
]);

export const wantedInstanceSchema = z.strictObject({
  id: idSchema("instance"),
  /** The host generation at which this last changed; Compute echoes it in what it sees. */
  generation: counter,
  /** Raised by each placement. Compute refuses anything about an instance with a lower epoch than it has known. */
  epoch: counter.min(1),
  spec: instanceSpecSchema,
  power: powerSchema,
});

/** One half of a live migration; see agent-migration.ts. */
export const wantedMigrationSchema = z.strictObject({
  id: idSchema("migration"),
  instanceId: idSchema("instance"),
  generation: counter,
  wish: z.enum(["go", "cancel"]),
  /** It is over: the half forgets it. */
  gone: z.boolean(),
  half: z.discriminatedUnion("is", [wantedSourceSchema, wantedTargetSchema(instanceSpecSchema)]),
});

/** Addresses mean something only inside their VPC: two VPCs may use the same ranges and do not see each other. */
export const wantedVpcSchema = z.strictObject({
  id: idSchema("vpc"),
  cidrs: z.array(z.cidrv4()).max(16),
  /** Instances of the VPC are found by their name under this suffix. */
  domain: z
    .string()
    .regex(
      /^(?=.{1,190}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*$/,
      "a domain name of 190 characters at most",
    ),
});

export const wantedSubnetSchema = z.strictObject({
  id: idSchema("subnet"),
  vpcId: idSchema("vpc"),
  cidr: z.cidrv4(),
  /** The same address and MAC on every host: each host is its guests' gateway. */
  gateway: z.ipv4(),
  gatewayMac: z.string(),
  vni: z.int().min(1).max(16_777_215),
  mtu: z.int().min(576).max(9000),
  dns: z.array(z.ipv4()).max(4),
  /**
   * The way out for addresses without an elastic one. `host`: each host translates to its own underlay address (what a NAT gateway
   * gives, on every host at once). `none`: there is no way out.
   */
  egress: z.enum(["host", "none"]),
});

/** Where an address of a subnet lives: programmed as FDB + neighbour entries, so nothing floods and nothing learns. */
export const peerSchema = z.strictObject({
  subnetId: idSchema("subnet"),
  ip: z.ipv4(),
  mac: z.string(),
  /** Underlay address of the host it is on; null = the address is free again. */
  vtep: z.ipv4().nullable(),
  /** The instance's host name, for the VPC's DNS; null: it has none to be found by. */
  name: text(64).nullable().default(null),
  /** The groups it is a member of: rules that name a group mean these addresses. */
  groupIds: z.array(idSchema("securityGroup")).max(16).default([]),
});

const port = z.int().min(0).max(65_535);

export const securityRuleSchema = z.strictObject({
  action: z.enum(["accept", "drop"]),
  protocol: z.enum(["all", "tcp", "udp", "icmp", "gre"]),
  /** Destination ports, for tcp and udp only; null: all. */
  ports: z
    .array(z.strictObject({ from: port, to: port }))
    .min(1)
    .max(64)
    .nullable(),
  /** The other side: where it comes from, or where it goes. A group means its members in the same VPC. */
  peer: z.union([z.strictObject({ cidr: z.cidrv4() }), z.strictObject({ groupId: idSchema("securityGroup") })]),
});

/** Stateful: what belongs to an admitted connection passes the other way too. */
export const wantedSecurityGroupSchema = z.strictObject({
  id: idSchema("securityGroup"),
  ingress: z.array(securityRuleSchema).max(200),
  egress: z.array(securityRuleSchema).max(200),
});

export const placeSchema = z.strictObject({ region: text(64), zone: text(64) });

export const toComputeSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("welcome"),
    protocol: z.int(),
    hostId: idSchema("host"),
    heartbeatMs: z.int(),
    /** The processor that the zone's guests are to see: the host says in its readiness whether it can give that. */
    cpuBaseline: cpuBaselineSchema.default("host"),
    /** How the zone's guests go from host to host. */
    migrationTransport: z.enum(migrationTransports).default("tls"),
    /** Over so many connections a guest's memory goes; one when left out. */
    migrationConnections: z.int().min(1).max(mostConnections).optional(),
    /** Guests that start under KVM from now on have a dirty ring. */
    dirtyRing: z.boolean().optional(),
    /** Where this host is, as its guests are told. */
    place: placeSchema,
  }),
  /**
   * Changes since the generation that Compute had; `full` = this is everything: whatever it does not name is unknown to
   * VStation. Compute reports such a stranger in `seen` and leaves it alone: bookkeeping never kills a VM.
   */
  z.strictObject({
    type: z.literal("wanted"),
    generation: counter,
    full: z.boolean(),
    /** All that this host needs, in each message: one that is not named is not needed any more. */
    vpcs: z.array(wantedVpcSchema),
    subnets: z.array(wantedSubnetSchema),
    securityGroups: z.array(wantedSecurityGroupSchema),
    instances: z.array(wantedInstanceSchema),
    jobs: z.array(wantedJobSchema),
    migrations: z.array(wantedMigrationSchema),
  }),
  z.strictObject({ type: z.literal("peers"), generation: counter, full: z.boolean(), peers: z.array(peerSchema) }),
  /** The seen report `seq` is committed. */
  z.strictObject({ type: z.literal("ack"), seq: counter }),
  z.strictObject({ type: z.literal("ask"), id: counter, ask: z.lazy(() => askSchema) }),
  /** Bytes typed into an open console session. */
  z.strictObject({ type: z.literal("console.input"), session: text(64), data: z.base64().max(16_384) }),
  z.strictObject({ type: z.literal("console.close"), session: text(64) }),
]);

/** Questions that need no memory: answered once, lost with the connection. */
export const askSchema = z.discriminatedUnion("kind", [
  /** The last `bytes` of the serial log. Answer: {data: base64, truncated: boolean}. */
  z.strictObject({
    kind: z.literal("console.log"),
    instanceId: idSchema("instance"),
    bytes: z.int().min(1).max(1_048_576),
  }),
  /** Opens the serial console; output follows as `console.output` until closed. Answer: {}. */
  z.strictObject({ kind: z.literal("console.open"), instanceId: idSchema("instance"), session: text(64) }),
  /** Runs the readiness checks anew. Answer: the readiness report. */
  z.strictObject({ kind: z.literal("readiness") }),
  ...preflightAsks(instanceSpecSchema),
]);

/* ---------------------------------------------------------------- seen: Compute -> VStation */

/** Why a guest is not running although nobody asked for that, or why a step cannot be done. Names are stable. */
export const seenReasonSchema = z.enum([
  "guest_shutdown", // the guest powered itself off
  "guest_crashed", // the guest panicked or QEMU died
  "host_restarted", // the host (or its libvirt state) went away under it
  "start_failed", // libvirt or QEMU refused; see message
  "image_missing",
  "machine_unavailable", // the host cannot give it the processors, hugepages or processor model that were promised
  "disk_missing", // the instance ran here before and its disk is not there: never replaced by an empty one
  "out_of_space", // the guest is paused until space is freed
  "io_error",
  "network_failed",
  "paused_outside", // paused on the host by somebody else; left so
]);

export const seenInstanceSchema = z.strictObject({
  id: idSchema("instance"),
  epoch: counter,
  /** Generation of the wanted document this report answers to; 0 for a stranger. */
  generation: counter,
  phase: z.discriminatedUnion("is", [
    z.strictObject({ is: z.literal("preparing"), step: text(64) }),
    z.strictObject({ is: z.literal("starting"), incarnation: counter }),
    z.strictObject({ is: z.literal("running"), incarnation: counter, resets: counter, startedAt: z.iso.datetime() }),
    z.strictObject({ is: z.literal("paused"), incarnation: counter, reason: seenReasonSchema }),
    z.strictObject({ is: z.literal("stopping"), incarnation: counter }),
    /** It ran as this incarnation, ended by itself, and was not asked to. */
    z.strictObject({ is: z.literal("exited"), incarnation: counter, reason: seenReasonSchema, message: text(1024) }),
    /** Off, as wanted. */
    z.strictObject({ is: z.literal("stopped") }),
    /** Could not be brought to what is wanted; Compute tries again with back-off until told otherwise. */
    z.strictObject({
      is: z.literal("failed"),
      incarnation: counter,
      reason: seenReasonSchema,
      message: text(1024),
      attempts: counter,
    }),
    /** Nothing of it is left here. */
    z.strictObject({ is: z.literal("gone") }),
    /** Runs or lies here, but VStation has never asked for it (or asks for an older epoch). Left alone. */
    z.strictObject({ is: z.literal("stranger"), running: z.boolean() }),
  ]),
  /** In the machine that runs, or in the one that the next start makes; null: a guest runs and has not been asked yet. */
  disks: z.array(seenDiskSchema).max(32).nullable(),
});

export const inventorySchema = z.strictObject({
  hostname: text(256),
  /** Declared shape (lab) or the machine's own. */
  cores: z.int(),
  memoryMiB: z.int(),
  diskGiB: z.int(),
  cpu: z.strictObject({
    model: text(128),
    vendor: text(64),
    sockets: z.int(),
    coresPerSocket: z.int(),
    threadsPerCore: z.int(),
    mhz: z.number(),
  }),
  numa: z.array(
    z.strictObject({
      node: z.int(),
      cpus: text(4096),
      memoryMiB: z.int(),
      hugepages: z.array(z.strictObject({ sizeKiB: z.int(), total: z.int(), free: z.int() })),
    }),
  ),
  /** What may be given to one instance alone; absent: nothing. */
  offers: z
    .strictObject({
      /** Processors, counted as `cores` counts them. */
      dedicated: z.int().nonnegative(),
      pages2MiB: z.int().nonnegative(),
      pages1GiB: z.int().nonnegative(),
    })
    .optional(),
  versions: z.strictObject({ compute: text(64), libvirt: text(64), qemu: text(64), kernel: text(128), node: text(64) }),
});

export const readinessCheckSchema = z.strictObject({
  name: text(64),
  level: z.enum(["ok", "warning", "error"]),
  /** What was found, and for a warning or error what to do next. */
  message: text(1024),
});

export const readinessSchema = z.strictObject({
  /** Proven by a guest that ran, not by a device node that opens (see compute/accelerator.ts). */
  accelerator: z.enum(["kvm", "tcg"]),
  checks: z.array(readinessCheckSchema).max(64),
});

export const fromComputeSchema = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("hello"),
    protocol: z.int(),
    bootId: text(64),
    /** Different for each Compute process: a newer session of a host replaces the older one. */
    session: text(64),
    underlayAddress: z.ipv4(),
    wantedGeneration: counter,
    peersGeneration: counter,
    inventory: inventorySchema,
    readiness: readinessSchema,
    overcommit: z.strictObject({ cpu: z.number().min(1).max(32), memory: z.number().min(1).max(4) }),
  }),
  z.strictObject({
    type: z.literal("seen"),
    seq: counter,
    /** Everything this host has; what is not named is not there. */
    full: z.boolean(),
    /** The wanted generation that this report takes into account. */
    wantedGeneration: counter,
    instances: z.array(seenInstanceSchema),
    jobs: z.array(seenJobSchema),
    migrations: z.array(seenMigrationSchema),
  }),
  z.strictObject({ type: z.literal("report"), inventory: inventorySchema, readiness: readinessSchema }),
  z.strictObject({ type: z.literal("answer"), id: counter, answer: z.unknown() }),
  z.strictObject({ type: z.literal("refusal"), id: counter, code: text(128), message: text(1024) }),
  z.strictObject({ type: z.literal("console.output"), session: text(64), data: z.base64() }),
  z.strictObject({ type: z.literal("console.closed"), session: text(64), reason: text(256) }),
]);

export type Nic = z.infer<typeof nicSchema>;
export type Login = z.infer<typeof loginSchema>;
export type InstanceSpec = z.infer<typeof instanceSpecSchema>;
export type Power = z.infer<typeof powerSchema>;
export type WantedMigration = z.infer<typeof wantedMigrationSchema>;
export type WantedInstance = z.infer<typeof wantedInstanceSchema>;
export type Place = z.infer<typeof placeSchema>;
export type WantedVpc = z.infer<typeof wantedVpcSchema>;
export type SecurityRule = z.infer<typeof securityRuleSchema>;
export type WantedSecurityGroup = z.infer<typeof wantedSecurityGroupSchema>;
export type WantedSubnet = z.infer<typeof wantedSubnetSchema>;
export type Peer = z.infer<typeof peerSchema>;
export type Ask = z.infer<typeof askSchema>;
export type SeenReason = z.infer<typeof seenReasonSchema>;
export type SeenInstance = z.infer<typeof seenInstanceSchema>;
export type SeenPhase = SeenInstance["phase"];
export type Inventory = z.infer<typeof inventorySchema>;
export type ReadinessCheck = z.infer<typeof readinessCheckSchema>;
export type Readiness = z.infer<typeof readinessSchema>;
export type ToCompute = z.infer<typeof toComputeSchema>;
export type FromCompute = z.infer<typeof fromComputeSchema>;

/* ---------------------------------------------------------------- joining */

/**
 * POST /join on the same listener, without a client certificate. The host has pinned the CA by the fingerprint it was given
 * beside the token; the token works once and for its lifetime only. The private key never leaves the host.
 */
export const joinRequestSchema = z.strictObject({
  token: text(128),
  name: hostNameSchema,
  csr: text(8192),
});
export const joinAnswerSchema = z.strictObject({
  hostId: idSchema("host"),
  certificate: text(16_384),
  ca: text(16_384),
});
const certificateUseSchema = z.enum(["host", "qemu"]);
/**
 * POST /renew, under the host's own certificate, answered as a join is: the next certificate for this host, or one for its `qemu`s, with
 * a key of their own, that is good for guests' memory and disks on their way between hosts and for nothing else.
 */
export const renewRequestSchema = z.strictObject({ csr: text(8192), use: certificateUseSchema.default("host") });
export type CertificateUse = z.infer<typeof certificateUseSchema>;
export type JoinRequest = z.infer<typeof joinRequestSchema>;
export type JoinAnswer = z.infer<typeof joinAnswerSchema>;
