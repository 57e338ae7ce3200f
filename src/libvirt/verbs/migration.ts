/** The verbs of a migration (migration-contract.ts says what each phase is for). */
import type { CallOptions, DomainRef } from "../contract.ts";
import { isLibvirtError } from "../errors.ts";
import type {
  JobType,
  MigrationFlag,
  MigrationOptions,
  MigrationParams,
  MigrationPhases,
  MigrationVerbs,
} from "../migration-contract.ts";
import { migration } from "../protocol/migration.ts";
import type { TypedParam } from "../protocol/notation.ts";
import { statValues } from "../values.ts";
import { type Call, flags } from "./call.ts";

/** Begin and prepare start a process and talk to QEMU; perform is as long as the caller says, an hour when it says nothing. */
const phaseMs = 120_000;
const performMs = 3_600_000;

const flagBits: Readonly<Record<MigrationFlag, number>> = {
  live: 1 << 0,
  peer2peer: 1 << 1,
  tunnelled: 1 << 2,
  "persist-dest": 1 << 3,
  "undefine-source": 1 << 4,
  paused: 1 << 5,
  "non-shared-disk": 1 << 6,
  "non-shared-inc": 1 << 7,
  "change-protection": 1 << 8,
  unsafe: 1 << 9,
  offline: 1 << 10,
  compressed: 1 << 11,
  "abort-on-error": 1 << 12,
  "auto-converge": 1 << 13,
  "rdma-pin-all": 1 << 14,
  postcopy: 1 << 15,
  tls: 1 << 16,
  parallel: 1 << 17,
  "non-shared-synchronous-writes": 1 << 18,
  "postcopy-resume": 1 << 19,
  zerocopy: 1 << 20,
};

/** Flags that mean something at the source only; the target refuses or ignores them (as in virDomainMigrateVersion3Full). */
const sourceOnly: readonly MigrationFlag[] = ["abort-on-error", "auto-converge"];

const jobTypes: readonly JobType[] = ["none", "bounded", "unbounded", "completed", "failed", "cancelled"];

/** Our name, libvirt's name, and the type it insists on. A list becomes one parameter per element. */
const paramTypes: {
  readonly [K in keyof MigrationParams]-?: readonly [string, TypedParam["value"]["type"]];
} = {
  uri: ["migrate_uri", "string"],
  listenAddress: ["listen_address", "string"],
  destinationName: ["destination_name", "string"],
  destinationXml: ["destination_xml", "string"],
  persistentXml: ["persistent_xml", "string"],
  bandwidth: ["bandwidth", "ullong"],
  bandwidthPostcopy: ["bandwidth.postcopy", "ullong"],
  bandwidthSwitchover: ["bandwidth.avail.switchover", "ullong"],
  graphicsUri: ["graphics_uri", "string"],
  disks: ["migrate_disks", "string"],
  disksPort: ["disks_port", "int"],
  disksUri: ["disks_uri", "string"],
  compression: ["compression", "string"],
  compressionXbzrleCache: ["compression.xbzrle.cache", "ullong"],
  compressionZstdLevel: ["compression.zstd.level", "int"],
  autoConvergeInitial: ["auto_converge.initial", "int"],
  autoConvergeIncrement: ["auto_converge.increment", "int"],
  parallelConnections: ["parallel.connections", "int"],
  tlsDestination: ["tls.destination", "string"],
};

/** `call` uses the half's own connection. */
export function migrationPhases(call: Call): MigrationPhases {
  return {
    async migrateBegin(domain, options) {
      const args = { domain, params: wireParams(options.params), flags: wireFlags(options) };
      return await call(migration.domainMigrateBegin3Params, args, options, phaseMs);
    },
    async migratePrepare(begun, options) {
      const params = wireParams({ ...options.params, destinationXml: begun.xml });
      const args = { params, cookie: begun.cookie, flags: wireFlags(options, sourceOnly) };
      return await call(migration.domainMigratePrepare3Params, args, options, phaseMs);
    },
    async migratePerform(domain, prepared, options) {
      const uri = prepared.uri ?? options.params.uri;
      const params = wireParams({
        ...options.params,
        destinationName: options.params.destinationName ?? domain.name,
        ...(uri === undefined ? {} : { uri }),
      });
      const args = { domain, destinationUri: undefined, params, cookie: prepared.cookie, flags: wireFlags(options) };
      return (await call(migration.domainMigratePerform3Params, args, options, performMs)).cookie;
    },
    async migrateFinish(domain, cookie, cancelled, options) {
      const destinationName = options.params.destinationName ?? domain.name;
      const params = wireParams({ ...options.params, destinationName });
      const args = { params, cookie, flags: wireFlags(options, sourceOnly), cancelled };
      try {
        return { ...(await call(migration.domainMigrateFinish3Params, args, options, phaseMs)), complaint: undefined };
      } catch (error) {
        // A finish that was told to cancel has no domain to give, and libvirt can say that only with an error: a number of its
        // own, or how the incoming side failed before, or that it is gone already.
        if (!cancelled || !isLibvirtError(error, "MigrateFinishOk", "OperationFailed", "NoDomain")) throw error;
        const complaint = error.reason === "MigrateFinishOk" ? undefined : error;
        return { domain: undefined, cookie: new Uint8Array(0), complaint };
      }
    },
    async migrateConfirm(domain, cookie, cancelled, options) {
      const args = { domain, params: wireParams(options.params), cookie, flags: wireFlags(options), cancelled };
      try {
        await call(migration.domainMigrateConfirm3Params, args, options, phaseMs);
      } catch (error) {
        // "Not being migrated" is what a cancel asks for.
        if (!cancelled || !isLibvirtError(error, "OperationInvalid")) throw error;
      }
    },
  };
}

/** On the ordinary connection, on which a running phase can be watched. */
export function migrationVerbs(call: Call): Omit<MigrationVerbs, "openMigration"> {
  const simple = (domain: DomainRef): { domain: DomainRef; flags: number } => ({ domain, flags: 0 });
  return {
    async migrateSetMaxDowntime(domain, ms, options) {
      await call(migration.domainMigrateSetMaxDowntime, { ...simple(domain), ms }, options);
    },
    async migrateSetMaxSpeed(domain, mibPerSecond, options) {
      await call(migration.domainMigrateSetMaxSpeed, { ...simple(domain), mibPerSecond }, options);
    },
    async migrateSetCompressionCache(domain, bytes, options) {
      await call(migration.domainMigrateSetCompressionCache, { ...simple(domain), bytes }, options);
    },
    async migrateStartPostcopy(domain, options) {
      await call(migration.domainMigrateStartPostCopy, simple(domain), options);
    },
    async jobStats(domain, options?: CallOptions & { completed?: boolean; keep?: boolean }) {
      const word = flags([options?.completed, 1], [options?.keep, 2]);
      const { type, params } = await call(migration.domainGetJobStats, { domain, flags: word }, options);
      return { type: jobTypes[type] ?? "unknown", values: statValues(params) };
    },
    async jobAbort(domain, options?: CallOptions & { postcopy?: boolean }) {
      await call(migration.domainAbortJobFlags, { domain, flags: flags([options?.postcopy, 1]) }, options);
    },
  };
}

function wireFlags(options: MigrationOptions, without: readonly MigrationFlag[] = []): number {
  let word = 0;
  for (const flag of options.flags) if (!without.includes(flag)) word |= flagBits[flag];
  return word;
}

function wireParams(params: MigrationParams): TypedParam[] {
  const wire: TypedParam[] = [];
  for (const [key, [field, type]] of Object.entries(paramTypes)) {
    const value: unknown = params[key as keyof MigrationParams];
    const values: readonly unknown[] = value === undefined ? [] : Array.isArray(value) ? value : [value];
    for (const one of values) wire.push({ field, value: { type, value: one } as TypedParam["value"] });
  }
  return wire;
}
