/** The verbs of a domain's life and of its definition. */
import type { DomainVerbs } from "../contract.ts";
import { connection } from "../protocol/connection.ts";
import { domains } from "../protocol/domain.ts";
import { isLibvirtError } from "../errors.ts";
import { domainStatus } from "../states.ts";
import { statValues } from "../values.ts";
import { affectFlags, type Call, flags } from "./call.ts";

/** A start locks and clears the guest's memory: 700 GB take minutes when cold. */
const createMs = 600_000;
/** libvirt itself waits 15 s after SIGTERM and 15 s more after SIGKILL. */
const destroyMs = 60_000;
const metadataElement = 2;

const statsBits = {
  state: 1,
  "cpu-total": 2,
  balloon: 4,
  vcpu: 8,
  interface: 16,
  block: 32,
  perf: 64,
  iothread: 128,
  memory: 256,
  dirtyrate: 512,
  vm: 1024,
} as const;

type LifecycleVerbs = Pick<
  DomainVerbs,
  | "domainDefine"
  | "domainUndefine"
  | "domainCreate"
  | "domainCreateTransient"
  | "domainDestroy"
  | "domainShutdown"
  | "domainReboot"
  | "domainReset"
  | "domainSuspend"
  | "domainResume"
  | "domainLookupByName"
  | "domainLookupByUuid"
  | "domainList"
  | "domainState"
  | "domainXml"
  | "domainMetadataSet"
  | "domainMetadataGet"
  | "domainStats"
  | "managedSave"
  | "managedSaveRemove"
>;

export function lifecycleVerbs(call: Call): LifecycleVerbs {
  return {
    async domainDefine(xml, options) {
      const args = { xml, flags: flags([options?.validate, 1]) };
      return (await call(domains.domainDefineXmlFlags, args, options)).domain;
    },
    async domainUndefine(domain, options) {
      // Managed save, snapshots' and checkpoints' metadata go in any case; NVRAM and TPM state as asked.
      const keep = options?.nvram !== "remove";
      const word = flags([true, 1], [true, 2], [!keep, 4], [keep, 8], [true, 16], [!keep, 32], [keep, 64]);
      await call(domains.domainUndefineFlags, { domain, flags: word }, options);
    },
    async domainCreate(domain, options) {
      const args = { domain, flags: flags([options?.paused, 1]) };
      return (await call(domains.domainCreateWithFlags, args, options, createMs)).domain;
    },
    async domainCreateTransient(xml, options) {
      const args = { xml, flags: flags([options?.paused, 1]) };
      return (await call(domains.domainCreateXml, args, options, createMs)).domain;
    },
    async domainDestroy(domain, options) {
      const args = { domain, flags: flags([options?.graceful !== false, 1]) };
      await call(domains.domainDestroyFlags, args, options, destroyMs);
    },
    async domainShutdown(domain, options) {
      await call(domains.domainShutdownFlags, { domain, flags: byFlags(options?.by) }, options);
    },
    async domainReboot(domain, options) {
      await call(domains.domainReboot, { domain, flags: byFlags(options?.by) }, options);
    },
    async domainReset(domain, options) {
      await call(domains.domainReset, { domain, flags: 0 }, options);
    },
    async domainSuspend(domain, options) {
      await call(domains.domainSuspend, { domain }, options);
    },
    async domainResume(domain, options) {
      await call(domains.domainResume, { domain }, options);
    },

    async domainLookupByName(name, options) {
      return await orUndefined(call(domains.domainLookupByName, { name }, options));
    },
    async domainLookupByUuid(uuid, options) {
      return await orUndefined(call(domains.domainLookupByUuid, { uuid }, options));
    },
    async domainList(want, options) {
      const word = flags([want?.active, 1], [want?.inactive, 2]);
      return (await call(connection.connectListAllDomains, { needResults: true, flags: word }, options)).domains;
    },
    async domainState(domain, options) {
      const { state, reason } = await call(domains.domainGetState, { domain, flags: 0 }, options);
      return domainStatus(state, reason);
    },
    async domainXml(domain, options) {
      const word = flags([options?.secure, 1], [options?.inactive, 2], [options?.migratable, 8]);
      return (await call(domains.domainGetXmlDesc, { domain, flags: word }, options)).xml;
    },

    async domainMetadataSet(domain, element, affect, options) {
      const args = {
        domain,
        type: metadataElement,
        metadata: element.xml,
        key: element.prefix,
        uri: element.uri,
        flags: affectFlags[affect],
      };
      await call(domains.domainSetMetadata, args, options);
    },
    async domainMetadataGet(domain, uri, from, options) {
      const args = { domain, type: metadataElement, uri, flags: affectFlags[from] };
      try {
        return (await call(domains.domainGetMetadata, args, options)).metadata;
      } catch (error) {
        if (isLibvirtError(error, "NoDomainMetadata")) return undefined;
        throw error;
      }
    },

    async domainStats(want, options) {
      let stats = 0;
      for (const group of want?.groups ?? []) stats |= statsBits[group];
      // The list's own filter belongs to "all domains" only; the last bit answers from memory rather than wait for QEMU.
      const word = flags([want?.domains === undefined, 1], [want?.nowait, 1 << 29]);
      const args = { domains: want?.domains ?? [], stats, flags: word };
      if (want?.domains?.length === 0) return [];
      const { records } = await call(connection.connectGetAllDomainStats, args, options);
      return records.map(({ domain, params }) => ({ domain, values: statValues(params) }));
    },

    async managedSave(domain, options) {
      await call(domains.domainManagedSave, { domain, flags: 0 }, options, createMs);
    },
    async managedSaveRemove(domain, options) {
      await call(domains.domainManagedSaveRemove, { domain, flags: 0 }, options);
    },
  };
}

function byFlags(by: "acpi" | "agent" | undefined): number {
  return flags([by === "acpi", 1], [by === "agent", 2]);
}

async function orUndefined<T>(found: Promise<{ readonly domain: T }>): Promise<T | undefined> {
  try {
    return (await found).domain;
  } catch (error) {
    if (isLibvirtError(error, "NoDomain")) return undefined;
    throw error;
  }
}
