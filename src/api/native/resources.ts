/** What the native API answers with. Times are ISO 8601 in UTC, sizes name their unit, `null` means "there is none". */
import * as z from "zod";
import { imageSources, imageStates, importSteps } from "../../core/image.ts";
import { instanceStates, operationKinds, operationStates, restartPolicies } from "../../core/instance.ts";
import { diskTypes } from "../../core/disk.ts";
import { idSchema } from "../../lib/ids.ts";
import { ceilingSchema, migrationPolicySchema } from "../agent-migration.ts";
import { inventorySchema, readinessCheckSchema, readinessSchema } from "../agent.ts";
import { changeSubjects } from "./requests.ts";

export const time = z.iso.datetime();
export const total = z.int().nonnegative().describe("Of the whole selection, not of this page.");
export const counter = z.int().nonnegative();

export const operationSchema = z
  .object({
    id: idSchema("operation"),
    kind: z.enum(operationKinds),
    instanceId: idSchema("instance"),
    accountId: idSchema("account"),
    requestId: z.string(),
    state: z.enum(operationStates),
    error: z.object({ code: z.string(), message: z.string() }).nullable().describe("Set when FAILED."),
    createdAt: time,
    endedAt: time.nullable(),
    deadline: time.describe("Past it the operation ends with a reason, or says why it still waits."),
    steps: z.array(z.object({ at: time, name: z.string(), note: z.string().nullable() })),
  })
  .meta({ id: "Operation", description: "Remembers one accepted request, its steps and its end. It stays." });

export const instanceSchema = z
  .object({
    id: idSchema("instance"),
    accountId: idSchema("account"),
    uuid: z.uuid(),
    name: z.string(),
    state: z.enum(instanceStates),
    instanceType: z.string(),
    vcpus: counter,
    memoryMiB: counter,
    imageId: idSchema("image"),
    zone: z.string(),
    hostId: idSchema("host").nullable(),
    vpcId: idSchema("vpc"),
    subnetId: idSchema("subnet"),
    ip: z.ipv4(),
    mac: z.string(),
    elastic: z
      .object({ ip: z.ipv4(), kind: z.enum(["eip", "wan"]), bandwidthMbps: counter })
      .nullable()
      .describe("Its address towards the outside: `eip` is the account's own, `wan` came with the instance."),
    securityGroupIds: z.array(idSchema("securityGroup")),
    systemDisk: z.object({ id: idSchema("disk"), type: z.enum(diskTypes), sizeGiB: counter }),
    dataDisks: z.array(z.object({ id: idSchema("disk"), type: z.enum(diskTypes), name: z.string(), sizeGiB: counter })),
    keyIds: z.array(idSchema("key")),
    groupId: idSchema("group").nullable(),
    hasUserData: z.boolean().describe("User data may hold secrets and is not given back."),
    restartPolicy: z.enum(restartPolicies),
    terminationProtection: z.boolean(),
    tags: z.record(z.string(), z.string()),
    createdAt: time,
    incarnation: counter.describe("Guest starts so far, by request or by the restart policy."),
    epoch: counter,
    generation: counter,
    stale: z.boolean().describe("The host is out of reach: the rest is what was last seen."),
    attention: z.string().nullable().describe("What is wrong and what to do, in one sentence."),
    latestOperation: operationSchema.nullable(),
  })
  .meta({ id: "Instance" });

const numa = inventorySchema.shape.numa.element.shape;

/** The agent's documents, opened: an older client meets a newer host's field and goes on. */
const inventory = z.object({
  ...inventorySchema.shape,
  cpu: z.object(inventorySchema.shape.cpu.shape),
  numa: z.array(z.object({ ...numa, hugepages: z.array(z.object(numa.hugepages.element.shape)) })),
  offers: z.object(inventorySchema.shape.offers.unwrap().shape).optional(),
  versions: z.object(inventorySchema.shape.versions.shape),
});
export const readinessAnswer = z
  .object({ ...readinessSchema.shape, checks: z.array(z.object(readinessCheckSchema.shape)) })
  .meta({ id: "Readiness" });

export const hostSchema = z
  .object({
    id: idSchema("host"),
    name: z.string(),
    state: z
      .enum(["joining", "ready", "degraded", "unreachable"])
      .describe(
        "`joining`: has a certificate, not heard of yet; `degraded`: connected, with an error in its readiness; `unreachable`: its state is unknown.",
      ),
    cordoned: z.boolean().describe("Takes no new instances."),
    drain: z
      .object({
        since: time,
        policy: migrationPolicySchema.describe("By which the moves go that have not begun."),
        ceilingMs: ceilingSchema
          .nullable()
          .describe("The longest pause that may be planned with, where that may grow."),
        moved: counter.describe("Guests that it has moved."),
        left: z
          .array(
            z.object({
              instanceId: idSchema("instance"),
              is: z
                .enum(["moving", "queued", "stuck", "stopped"])
                .describe(
                  "`stuck`: somebody has to do something about it; `stopped`: nothing of it runs, and it stays.",
                ),
              migrationId: idSchema("migration").nullable(),
              reason: z.object({ code: z.string(), message: z.string() }).nullable(),
            }),
          )
          .describe("What is on the host; it is drained when nothing of it is `moving`, `queued` or `stuck`."),
      })
      .nullable()
      .describe("`null`: it is not drained."),
    underlayAddress: z.string(),
    inventory,
    readiness: readinessAnswer,
    overcommit: z.object({ cpu: z.number(), memory: z.number() }),
    used: z.object({ vcpus: counter, dedicated: counter, memoryMiB: counter, diskGiB: counter, instances: counter }),
    seenAt: time,
    joinedAt: time,
  })
  .meta({ id: "Host" });

export const imageSchema = z
  .object({
    id: idSchema("image"),
    accountId: idSchema("account").nullable().describe("`null`: everybody's."),
    name: z.string(),
    description: z.string(),
    state: z.enum(imageStates).describe("Instances start from a NORMAL one; `...FAILED` can only be deleted."),
    source: z.enum(imageSources),
    progress: z.int().min(0).max(100).describe("Per cent of the work under way."),
    step: z.enum(importSteps).nullable().describe("What is being done now."),
    error: z.object({ code: z.string(), message: z.string() }).nullable().describe("Why there is no image."),
    received: counter.nullable().describe("Bytes of the file that are here, while it is awaited."),
    sizeBytes: counter.describe("What its files take."),
    osName: z.string(),
    platform: z.string(),
    architecture: z.string(),
    boot: z.enum(["direct", "bios", "uefi"]).describe("`direct`: the host gives it kernel and initrd."),
    secureBoot: z.boolean(),
    tpm: z.boolean(),
    hyperv: z.boolean(),
    diskGiB: counter.describe("The least that a system disk made from it can have."),
    minMemoryMiB: counter,
    createdAt: time,
  })
  .meta({ id: "Image" });

export const keySchema = z
  .object({
    id: idSchema("key"),
    name: z.string(),
    publicKey: z.string(),
    createdAt: time,
    instanceIds: z.array(idSchema("instance")),
  })
  .meta({ id: "Key" });

export const groupSchema = z
  .object({
    id: idSchema("group"),
    name: z.string(),
    type: z.enum(["HOST"]),
    affinity: counter.describe("Instances allowed on one host."),
    capacity: counter,
    instanceIds: z.array(idSchema("instance")),
    createdAt: time,
  })
  .meta({ id: "Group", description: "Instances that must not share a host, up to its affinity." });

export const instanceTypeSchema = z
  .object({
    name: z.string(),
    family: z.string(),
    vcpus: counter,
    memoryGiB: counter,
    bandwidthGbps: z.number(),
    kpps: z.number(),
    room: counter.describe("How many more would fit now."),
  })
  .meta({ id: "InstanceType" });

export const changeEventSchema = z
  .object({
    id: z
      .string()
      .regex(/^\d{1,19}$/, "a number")
      .describe("Only grows and survives a restart: resume after it."),
    at: time,
    subject: z.enum(changeSubjects),
    subjectId: z.string(),
  })
  .meta({ id: "ChangeEvent", description: "Something changed. Carries no state, only what to read again." });

export const instancesAnswer = z.object({ total, instances: z.array(instanceSchema) });
export const hostsAnswer = z.object({ total, hosts: z.array(hostSchema) });
export const operationsAnswer = z.object({ total, operations: z.array(operationSchema) });
export const imagesAnswer = z.object({ total, images: z.array(imageSchema) });
export const imageContentDigestAnswer = z.object({ sha256: z.string() });
export const keysAnswer = z.object({ total, keys: z.array(keySchema) });
export const groupsAnswer = z.object({ total, groups: z.array(groupSchema) });
export const instanceTypesAnswer = z.object({
  zone: z.string(),
  total,
  instanceTypes: z.array(instanceTypeSchema),
});

/** In the order of the ids that were given. */
export const startedAnswer = z.object({ operationIds: z.array(idSchema("operation")) });
export const runAnswer = z.object({
  instanceIds: z.array(idSchema("instance")),
  operationIds: z.array(idSchema("operation")),
});
export const keyCreatedAnswer = z.object({
  key: keySchema,
  privateKey: z.string().describe("PEM; shown this once and never stored."),
});
export const consoleLogAnswer = z.object({
  data: z.base64(),
  truncated: z.boolean().describe("There is more before it."),
});
export const hostInvitation = z
  .object({
    name: z.string(),
    token: z.string().describe("Shown this once; good for one machine."),
    expiresAt: time,
    servers: z.array(z.string()),
    ca: z.string().describe("PEM."),
  })
  .meta({ id: "HostInvitation" });
export const hostRemovedAnswer = z.object({
  told: z.boolean().describe("It was connected and clears itself away; else it is told when it comes back."),
});
export const aboutAnswer = z.object({ version: z.string(), region: z.string(), zones: z.array(z.string()) });
export const doneAnswer = z.object({});

export type InstanceWire = z.infer<typeof instanceSchema>;
export type OperationWire = z.infer<typeof operationSchema>;
export type HostWire = z.infer<typeof hostSchema>;
export type ImageWire = z.infer<typeof imageSchema>;
export type KeyWire = z.infer<typeof keySchema>;
export type GroupWire = z.infer<typeof groupSchema>;
export type InstanceTypeWire = z.infer<typeof instanceTypeSchema>;
export type ChangeEventWire = z.infer<typeof changeEventSchema>;
