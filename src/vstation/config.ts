/** What one VStation process is told at its start (`--config FILE`). */
import * as z from "zod";
import { cpuBaselineSchema } from "../core/machine.ts";
import { migrationTransports, mostConnections } from "../core/migration/halves.ts";
import { idSchema } from "../lib/ids.ts";

const placeName = z.string().regex(/^[a-z0-9-]{1,32}$/, "from 1 to 32 lower-case letters, digits and hyphens");

export const vstationConfigSchema = z.strictObject({
  region: placeName,
  zone: placeName,
  /** PostgreSQL connection string; a unix socket directory as `postgresql:///db?host=/dir&user=name`. */
  database: z.string(),
  /** Public APIs (CVM at /, native at /v1, /metrics). Off loopback `tls` is demanded and the program refuses to start without it. */
  listen: z.strictObject({
    address: z.string(),
    port: z.int().min(0).max(65535),
    /** What clients call it, as its certificate says; the address itself when left out. Needed where that is "every address". */
    name: z.string().min(1).optional(),
    tls: z.strictObject({ certFile: z.string(), keyFile: z.string() }).optional(),
  }),
  /** Where hosts dial in: always mutual TLS by our own CA. */
  agents: z.strictObject({
    address: z.string(),
    port: z.int().min(0).max(65535),
    /** Names and addresses hosts use to reach it, for the server certificate. */
    names: z.array(z.string()).min(1),
    /** What hosts are told to dial, `address:port`, all replicas; when left out, this one's names. */
    servers: z
      .array(z.string().regex(/^.+:\d{1,5}$/, "an address and a port, such as 192.0.2.1:8443"))
      .min(1)
      .optional(),
    /** How long a host's certificate is good; the host renews it by itself when two thirds of that are over. */
    certificateDays: z
      .number()
      .min(1 / 8640)
      .max(3650)
      .default(90),
  }),
  /** CA key and certificate; created at the first start, 0600. Replicas share it. */
  pkiDir: z.string(),
  /** Replicas share it as well; a VStation that finds another folder there than the zone's refuses to start (app/image-home.ts). */
  imageDir: z.string(),
  /**
   * Set when every host of the zone mounts one folder (sharedDir of its own configuration): cloud disks and snapshots then lie there.
   * The path is for people; VStation never opens it.
   */
  sharedDir: z.string().optional(),
  /** Size of a system disk that a request does not size; never less than the image needs. */
  systemDiskGiB: z.int().min(1).default(50),
  /** What images from outside may be and cost. */
  imports: z
    .strictObject({
      /** Private networks that URLs may name all the same: an image server of one's own. */
      allowedNetworks: z.array(z.union([z.cidrv4(), z.cidrv6()])).default([]),
      /** Of the file as it is brought. */
      maxSourceGiB: z.int().min(1).default(256),
      /** Of the disk that a guest sees. */
      maxVirtualGiB: z.int().min(1).default(2048),
      /** For the download, and again for the conversion. */
      maxMinutes: z.int().min(1).default(180),
    })
    .prefault({}),
  /** The API credentials file (see docs/architecture.md), written by VStation when ready, 0600. */
  credentialsFile: z.string(),
  /** One subnet for now; later the vpc actions make them. */
  subnet: z.strictObject({
    id: idSchema("subnet"),
    vpcId: idSchema("vpc"),
    cidr: z.cidrv4(),
    gateway: z.ipv4(),
    gatewayMac: z.string(),
    vni: z.int(),
    mtu: z.int(),
    dns: z.array(z.ipv4()),
    /** Addresses below this many from the start of the range are never given to instances. */
    reserved: z.int().min(2).default(10),
    /** Members of the subnet that are no instances: the operator's machine itself. */
    fixedPeers: z.array(z.strictObject({ ip: z.ipv4(), mac: z.string(), vtep: z.ipv4() })),
  }),
  /** Underlay addresses for instances to have as their own towards the outside; null: none can be had. */
  elastic: z.strictObject({ cidr: z.cidrv4() }).nullable().default(null),
  /**
   * The processor that guests of the zone see. A named model lets a guest move between unequal hosts; a host that cannot give it
   * says what it lacks in its readiness and takes no guests.
   */
  cpuBaseline: cpuBaselineSchema.default("host"),
  /** How guests go from host to host: their memory and disks by TLS; `plain` only where nobody else reaches the underlay. */
  migration: z
    .strictObject({
      transport: z.enum(migrationTransports).default("tls"),
      /** Over so many connections at once a guest's memory goes, but for one that may go by post-copy: QEMU has that over one alone. */
      connections: z.int().min(1).max(mostConnections).default(1),
      /** Guests that start under KVM from now on have KVM keep a ring of changed pages for each of their processors; see compute/migration/brake.ts. */
      dirtyRing: z.boolean().default(false),
      /** How many may be on their way at once; see core/migration/queue.ts. */
      limits: z
        .strictObject({
          /** From one host, and to one host, in small guests; a large one takes all of it. */
          outgoing: z.int().min(1).max(64).default(2),
          incoming: z.int().min(1).max(64).default(2),
          /** In the whole zone: what the network between its hosts carries. */
          zone: z.int().min(1).max(10_000).default(32),
          largeGiB: z.int().min(1).default(16),
        })
        .prefault({}),
    })
    .prefault({}),
  /** How many days calls stay in the log: those that could change something (365), and those that only read (14). */
  auditDays: z.strictObject({ changes: z.int().min(1), reads: z.int().min(1) }).optional(),
  /** Join tokens that shall exist, hashed on arrival: the lab hands one to each host it makes. */
  joinTokens: z
    .array(z.strictObject({ token: z.string().min(32), name: z.string(), lifetimeSeconds: z.int() }))
    .default([]),
});

export type VStationConfig = Readonly<z.output<typeof vstationConfigSchema>>;
