/** What one Compute process is told at its start (`--config FILE`); everything else it learns from VStation or the host. */
import * as z from "zod";
import { cpuNameSchema } from "../core/machine.ts";
import { hostNameSchema } from "../core/names.ts";

export const computeConfigSchema = z.strictObject({
  /** The host's name, unique in the zone. */
  name: hostNameSchema,
  /** Durable state of this host: key, certificate, what was last wanted, instances' disks and logs. */
  stateDir: z.string(),
  /** Vanishes with the host's boot: sockets, the accelerator proof. */
  runDir: z.string(),
  /** Images by their ids; may be shared with VStation. What is missing is fetched from it into here. */
  imageDir: z.string(),
  /** Above it, fetched images that no instance here uses go, the longest unused first. */
  imageCacheGiB: z.int().min(1).default(100),
  /** The folder that every host of the zone mounts, for disks that may move between hosts; left out: there is none. */
  sharedDir: z.string().optional(),
  libvirtSocket: z.string().default("/run/libvirt/libvirt-sock"),
  vstation: z.strictObject({
    /** Addresses `host:port` of the replicas' agent listener; any of them serves. */
    servers: z.array(z.string()).min(1),
    /** SHA-256 of the CA certificate, hex: pins the first contact. */
    caFingerprint: z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits in lower case"),
    /** Holds the one-time join token; read only while there is no certificate. */
    joinTokenFile: z.string(),
  }),
  /** Capacity to offer: the machine's own, or a declared shape as in the lab. */
  shape: z.union([
    z.literal("machine"),
    z.strictObject({
      cores: z.int().min(1),
      memoryMiB: z.int().min(256),
      diskGiB: z.int().min(1),
      /** Nodes to count the cores by, as if the machine had so many; one if left out. */
      numaNodes: z.int().min(1).max(8).optional(),
      /** Of the machine's 2 MiB pages, so much is this host's to give; none if left out. */
      hugepagesMiB: z.int().min(0).optional(),
      /** Features of the machine's processor, by libvirt's names, that guests here do not have; none if left out. */
      withoutCpuFeatures: z.array(cpuNameSchema).max(64).optional(),
    }),
  ]),
  overcommit: z.strictObject({ cpu: z.number().min(1).max(32), memory: z.number().min(1).max(4) }),
  /** How QEMU waits for the storage of disks; `auto`: the best way that works here. */
  diskIo: z.enum(["auto", "io_uring", "native", "threads"]).optional(),
  network: z.strictObject({
    /** This host's address in the underlay; VXLAN tunnels end here. */
    underlayAddress: z.ipv4(),
    underlayDevice: z.string(),
  }),
  migration: z
    .strictObject({
      /**
       * Where QEMU has its TLS files for guests that move: `migrate_tls_x509_cert_dir` of libvirt's qemu.conf, which must be there before
       * libvirt is started. What lies in it is written by Compute, and belongs to whom the folder belongs to: QEMU's user.
       */
      tlsDirectory: z.string().default("/etc/pki/qemu/vstation"),
      /** So long the other host of a move may be silent: after that the two have lost each other. Longer than a host is busy, and shorter than who waits has patience. */
      silenceSeconds: z.int().min(2).max(120).default(6),
    })
    .prefault({}),
  /** Run, detached, when VStation has taken this host out and nothing of an instance is left here: takes everything of ours away. */
  uninstall: z.array(z.string()).min(1).optional(),
});

export type ComputeConfig = Readonly<z.output<typeof computeConfigSchema>>;
