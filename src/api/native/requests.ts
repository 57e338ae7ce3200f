/** What the native API accepts: parameters, queries and bodies. Strict and bounded, every one. */
import * as z from "zod";
import { bootModes, diskFormats } from "../../core/image.ts";
import { instanceStates, operationStates, restartPolicies, userDataBytes } from "../../core/instance.ts";
import { defaultCeilingMs } from "../../core/migration/policy.ts";
import { hostNameSchema } from "../../core/names.ts";
import { networkLimits } from "../../core/network-limits.ts";
import { diskTypes } from "../../core/disk.ts";
import { idSchema, type IdKind } from "../../lib/ids.ts";
import { ceilingSchema, migrationPolicySchema } from "../agent-migration.ts";

/** No call takes longer than this to answer; a long poll may wait less. */
export const maxWaitSeconds = 60;
export const maxPage = 500;
/** Of a public key, in characters. */
export const publicKeyLength = 4096;

const idParam = <K extends IdKind>(kind: K) => z.strictObject({ id: idSchema(kind) });
export const instanceParams = idParam("instance");
export const hostParams = idParam("host");
export const operationParams = idParam("operation");
export const keyParams = idParam("key");
export const imageParams = idParam("image");
export const groupParams = idParam("group");

export const several = <S extends z.ZodType>(schema: S) => z.array(schema).max(100).optional();
/** One line that is shown as it is: a terminal obeys control characters. */
const oneLine = /^\P{Cc}*$/u;
export const name = z.string().min(1).max(128).regex(oneLine, "holds control characters");
export const word = z.string().min(1).max(64);

export const pageFields = {
  offset: z.coerce.number().int().min(0).max(1_000_000_000).default(0),
  limit: z.coerce.number().int().min(1).max(maxPage).default(100),
};

export const pageQuery = z.strictObject(pageFields);

/** Every condition must hold; of one given several times any value does. */
export const instanceQuery = z.strictObject({
  ...pageFields,
  id: several(idSchema("instance")),
  state: several(z.enum(instanceStates)),
  name: several(name),
  zone: several(word),
  instanceType: several(word),
  imageId: several(idSchema("image")),
  hostId: several(idSchema("host")),
  groupId: several(idSchema("group")),
  vpcId: several(idSchema("vpc")),
  subnetId: several(idSchema("subnet")),
  securityGroupId: several(idSchema("securityGroup")),
  uuid: several(z.uuid()),
  ip: several(z.ipv4()),
  tag: several(z.string().min(1).max(384)).describe("`key=value`, or `key` alone for any value."),
});

export const tags = z
  .record(z.string().min(1).max(127), z.string().max(255))
  .refine((value) => Object.keys(value).length <= 50, "at most 50 tags")
  .meta({ maxProperties: 50 });

const userData = z
  .base64()
  .max(Math.ceil(userDataBytes / 3) * 4)
  .refine((text) => Buffer.byteLength(text, "base64") <= userDataBytes, "more than 16 KiB")
  .describe("Base64 of at most 16 KiB.");

const restartPolicy = z
  .enum(restartPolicies)
  .describe("`always`: a guest that ended by itself is started again; `never`: it stays STOPPED.");

export const clientToken = z
  .string()
  .regex(/^[\x21-\x7e]{1,64}$/, "from 1 to 64 printable ASCII characters without a blank")
  .nullable()
  .default(null)
  .describe("The same token and request get the same answer, however often they are sent.");

const securityGroupIds = z.array(idSchema("securityGroup")).max(networkLimits.groupsPerInstance);

const runDisk = z.strictObject({
  type: z.enum(diskTypes).default("CLOUD_BASIC"),
  sizeGiB: z.int().min(1).max(65_536),
  name: name.nullable().default(null),
  deleteWithInstance: z.boolean().default(true),
});

export const instanceRunRequest = z
  .strictObject({
    zone: word.optional().describe("May be left out where there is only one."),
    instanceType: word,
    imageId: idSchema("image"),
    count: z.int().min(1).max(500).default(1),
    minCount: z.int().min(1).max(500).optional().describe("This many or none; `count` when left out."),
    name: name.nullable().default(null).describe("`{R:x}` numbers from x; with count > 1 a number is appended from 1."),
    hostname: z.string().min(1).max(64).nullable().default(null),
    systemDiskGiB: z.int().min(1).max(65_536).nullable().default(null),
    systemDiskType: z.enum(diskTypes).nullable().default(null).describe("null: the host's own storage."),
    dataDisks: z.array(runDisk).max(21).default([]),
    cpuTopology: z
      .strictObject({ cores: z.int().min(1).max(256), threadsPerCore: z.union([z.literal(1), z.literal(2)]) })
      .nullable()
      .default(null)
      .describe("Only for types that own their cores: all of them, with one or both threads."),
    keyIds: z.array(idSchema("key")).max(20).default([]),
    groupId: idSchema("group").nullable().default(null),
    subnetId: idSchema("subnet").nullable().default(null).describe("The account's default one when left out."),
    ips: z
      .array(z.ipv4())
      .max(100)
      .nullable()
      .default(null)
      .describe("Certain addresses of the subnet, one for each instance."),
    securityGroupIds: securityGroupIds.default([]).describe("In order; the account's default one when left out."),
    publicMbps: z
      .int()
      .min(1)
      .max(65_535)
      .nullable()
      .default(null)
      .describe("With an address towards the outside that goes with the instance, and of this bandwidth."),
    userData: userData.nullable().default(null),
    restartPolicy: restartPolicy.default("always"),
    terminationProtection: z.boolean().default(false),
    tags: tags.default({}),
    clientToken,
    dryRun: z.boolean().default(false).describe("Check everything, room included; create nothing."),
  })
  .meta({ id: "InstanceRunRequest" });

const ids = z.array(idSchema("instance")).min(1).max(100).describe("All of them or none.");
const how = z
  .enum(["soft", "soft_first", "hard"])
  .default("soft_first")
  .describe("`soft` asks the guest; `soft_first` asks, then cuts the power; `hard` cuts it at once.");

export const instancesRequest = z.strictObject({ ids }).meta({ id: "InstancesRequest" });
export const instanceResizeRequest = z
  .strictObject({
    id: idSchema("instance"),
    instanceType: z.string().min(1).max(64),
    mayStop: z.boolean().default(false).describe("One that runs is stopped for it and started again."),
  })
  .meta({ id: "InstanceResizeRequest" });

export const instancesPowerRequest = z.strictObject({ ids, how }).meta({ id: "InstancesPowerRequest" });

export const instanceReinstallRequest = z
  .strictObject({
    imageId: idSchema("image").nullable().default(null).describe("null: the image that it has."),
    systemDiskGiB: z.int().min(1).max(65_536).nullable().default(null).describe("No smaller than the present one."),
    keyIds: z.array(idSchema("key")).max(20).nullable().default(null),
    hostname: z.string().min(1).max(64).nullable().default(null),
    userData: userData.nullable().default(null),
  })
  .meta({ id: "InstanceReinstallRequest" });

/** One change at a time: a request that is half done has no good answer. */
export const instanceChangeRequest = z
  .union([
    z.strictObject({ name }),
    z.strictObject({ userData }),
    z.strictObject({ terminationProtection: z.boolean() }),
    z.strictObject({ restartPolicy }),
    z.strictObject({ securityGroupIds: securityGroupIds.min(1).describe("Exactly these, in order.") }),
  ])
  .meta({ id: "InstanceChangeRequest" });

export const consoleLogQuery = z.strictObject({
  bytes: z.coerce.number().int().min(1).max(1_048_576).default(65_536).describe("From the end of the log."),
});

export const consoleQuery = z.strictObject({
  history: z.coerce.number().int().min(0).max(1_048_576).default(65_536).describe("Bytes of output sent first."),
});

export const operationGetQuery = z.strictObject({
  wait: z.coerce
    .number()
    .int()
    .min(0)
    .max(maxWaitSeconds)
    .default(0)
    .describe("Answer when it has ended, or as it is after so many seconds."),
});

export const operationQuery = z.strictObject({
  ...pageFields,
  instanceId: several(idSchema("instance")),
  state: several(z.enum(operationStates)),
});

export const imageQuery = z.strictObject({ ...pageFields, id: several(idSchema("image")), name: name.optional() });
export const keyQuery = z.strictObject({ ...pageFields, id: several(idSchema("key")), name: several(name) });
export const groupQuery = z.strictObject({ ...pageFields, id: several(idSchema("group")), name: name.optional() });
const imageName = z
  .string()
  .min(1)
  .max(60)
  .refine((text) => text.trim() !== "" && !/\p{Cc}/u.test(text), "one line of text");
const imageDescription = z
  .string()
  .max(256)
  .refine((text) => !/\p{Cc}/u.test(text), "one line of text");

export const imageImportRequest = z
  .strictObject({
    name: imageName,
    description: imageDescription.default(""),
    format: z.enum(diskFormats).describe("What the file is; it is declared, never guessed."),
    bootMode: z.enum(bootModes).default("bios").describe("The firmware that starts it."),
    osName: z.string().min(1).max(100).default("unknown"),
    platform: z.string().min(1).max(60).default("Other Linux"),
    secureBoot: z.boolean().default(false).describe("With `uefi`: only loaders that are signed for it start."),
    tpm: z.boolean().default(false).describe("The guest gets a TPM 2.0."),
    hyperv: z.boolean().default(false).describe("Hyper-V's enlightenments, for Windows."),
    minMemoryMiB: z.int().min(64).max(1_048_576).default(256).describe("Below this it does not come up."),
    url: z
      .url({ protocol: /^https?$/ })
      .max(2048)
      .optional()
      .describe("Where VStation fetches it."),
    bytes: z.int().min(1).optional().describe("Size of the file that the client sends by imageContent."),
    public: z.boolean().default(false).describe("For every account."),
  })
  .refine(({ url, bytes }) => (url === undefined) !== (bytes === undefined), "give `url` or `bytes`")
  .meta({ id: "ImageImportRequest" });

export const imageCreateRequest = z
  .strictObject({
    instanceId: idSchema("instance").describe("Running or stopped; its system disk is copied."),
    name: imageName,
    description: imageDescription.default(""),
  })
  .meta({ id: "ImageCreateRequest" });

export const imageChangeRequest = z
  .strictObject({ name: imageName.optional(), description: imageDescription.optional() })
  .meta({ id: "ImageChangeRequest" });

/** Of one part; what a slow line can send within the time of one request. */
export const maxImagePart = 16 * 1024 * 1024;

export const imageContentQuery = z.strictObject({
  offset: z.coerce.number().int().min(0).describe("Where this part begins: what has been received so far."),
});

/** Of a file, looked at by one request. */
export const maxImageDigest = 256 * 1024 * 1024;

export const imageContentDigestQuery = z.strictObject({
  offset: z.coerce.number().int().min(0).default(0),
  bytes: z.coerce.number().int().min(1).max(maxImageDigest).default(maxImagePart),
});

export const keyCreateRequest = z.strictObject({ name }).meta({ id: "KeyCreateRequest" });
export const keyImportRequest = z
  .strictObject({ name, publicKey: z.string().min(16).max(publicKeyLength).describe("As in `id_ed25519.pub`.") })
  .meta({ id: "KeyImportRequest" });

export const groupCreateRequest = z
  .strictObject({
    name,
    type: z.enum(["HOST"]).default("HOST"),
    affinity: z.int().min(1).max(10).default(1).describe("Instances allowed on one host."),
  })
  .meta({ id: "GroupCreateRequest" });

export const changeSubjects = ["instance", "operation", "host", "disk", "snapshot", "migration"] as const;

export const hostInviteRequest = z
  .strictObject({
    name: hostNameSchema,
    again: z.boolean().default(false).describe("For a host that has joined before and lost its certificate."),
  })
  .meta({ id: "HostInviteRequest" });
export const hostChangeRequest = z
  .strictObject({ cordoned: z.boolean().describe("A cordoned host takes no new instances.") })
  .meta({ id: "HostChangeRequest" });
export const hostDrainRequest = z
  .strictObject({
    policy: migrationPolicySchema
      .nullable()
      .default(null)
      .describe(
        "As of a single move; each that has not begun goes by it. `null`: as the host is drained already, else `gentle`.",
      ),
    ceilingMs: ceilingSchema
      .nullable()
      .default(null)
      .describe(`The longest pause that \`finish\` may plan with, in milliseconds; null: ${defaultCeilingMs}.`),
  })
  .meta({ id: "HostDrainRequest" });
export const hostUndrainRequest = z
  .strictObject({ cancel: z.boolean().default(false).describe("Calls off what is on its way, too.") })
  .meta({ id: "HostUndrainRequest" });
export const hostRemoveQuery = z.strictObject({
  dead: z
    .enum(["true", "false"])
    .default("false")
    .describe("Also when it is out of reach: it will never run anything of ours again."),
});

export const eventQuery = z.strictObject({
  subject: several(z.enum(changeSubjects)),
  subjectId: several(z.string().regex(/^[a-z]{2,6}-[a-z0-9]{8}$/, "an id such as ins-1a2b3c4d")),
});
