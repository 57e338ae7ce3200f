/** The verbs of a domain's parts: devices, disks, processors, memory. */
import { type DomainVerbs, memoryStatNames } from "../contract.ts";
import { devices } from "../protocol/device.ts";
import { domains } from "../protocol/domain.ts";
import { blockJobs } from "../protocol/event.ts";
import { affectFlags, type Call, cpuMap, cpusOf, flags } from "./call.ts";

type DeviceVerbs = Pick<
  DomainVerbs,
  | "deviceAttach"
  | "deviceDetach"
  | "deviceDetachAlias"
  | "deviceUpdate"
  | "blockInfo"
  | "blockResize"
  | "blockTune"
  | "blockJobInfo"
  | "blockJobAbort"
  | "vcpusSet"
  | "vcpuPin"
  | "emulatorPin"
  | "iothreads"
  | "iothreadPin"
  | "memorySet"
  | "memoryStats"
  | "interfaceStats"
>;

export function deviceVerbs(call: Call): DeviceVerbs {
  return {
    async deviceAttach(domain, xml, affect, options) {
      await call(devices.domainAttachDeviceFlags, { domain, xml, flags: affectFlags[affect] }, options);
    },
    async deviceDetach(domain, xml, affect, options) {
      await call(devices.domainDetachDeviceFlags, { domain, xml, flags: affectFlags[affect] }, options);
    },
    async deviceDetachAlias(domain, alias, affect, options) {
      await call(devices.domainDetachDeviceAlias, { domain, alias, flags: affectFlags[affect] }, options);
    },
    async deviceUpdate(domain, xml, affect, options) {
      await call(devices.domainUpdateDeviceFlags, { domain, xml, flags: affectFlags[affect] }, options);
    },

    async blockInfo(domain, disk, options) {
      return await call(devices.domainGetBlockInfo, { domain, disk, flags: 0 }, options);
    },
    async blockResize(domain, disk, bytes, options) {
      await call(devices.domainBlockResize, { domain, disk, size: bytes, flags: flags([true, 1]) }, options);
    },
    async blockTune(domain, disk, limits, affect, options) {
      const params = [
        { field: "total_bytes_sec", value: { type: "ullong" as const, value: limits.bytes } },
        { field: "total_iops_sec", value: { type: "ullong" as const, value: limits.iops } },
      ];
      await call(devices.domainSetBlockIoTune, { domain, disk, params, flags: affectFlags[affect] }, options);
    },
    async blockJobInfo(domain, disk, options) {
      const info = await call(devices.domainGetBlockJobInfo, { domain, disk, flags: flags([true, 1]) }, options);
      if (!info.found) return undefined;
      const job = blockJobs[info.type] ?? "unknown";
      return { job, bandwidth: info.bandwidth, cursor: info.cursor, end: info.end };
    },
    async blockJobAbort(domain, disk, options) {
      await call(devices.domainBlockJobAbort, { domain, disk, flags: flags([options?.pivot, 2]) }, options);
    },

    async vcpusSet(domain, count, affect, options) {
      await call(domains.domainSetVcpusFlags, { domain, count, flags: affectFlags[affect] }, options);
    },
    async vcpuPin(domain, vcpu, cpus, affect, options) {
      const args = { domain, vcpu, cpumap: cpuMap(cpus), flags: affectFlags[affect] };
      await call(domains.domainPinVcpuFlags, args, options);
    },
    async emulatorPin(domain, cpus, affect, options) {
      await call(domains.domainPinEmulator, { domain, cpumap: cpuMap(cpus), flags: affectFlags[affect] }, options);
    },
    async iothreads(domain, options) {
      const { info } = await call(domains.domainGetIothreadInfo, { domain, flags: 0 }, options);
      return info.map(({ id, cpumap }) => ({ id, cpus: cpusOf(cpumap) }));
    },
    async iothreadPin(domain, iothread, cpus, affect, options) {
      const args = { domain, iothread, cpumap: cpuMap(cpus), flags: affectFlags[affect] };
      await call(domains.domainPinIothread, args, options);
    },
    async memorySet(domain, kib, affect, options) {
      await call(domains.domainSetMemoryFlags, { domain, memoryKib: kib, flags: affectFlags[affect] }, options);
    },
    async memoryStats(domain, options) {
      const args = { domain, max: memoryStatNames.length, flags: 0 };
      const { stats } = await call(domains.domainMemoryStats, args, options);
      // A tag without a name is of a newer daemon; the ones we know are still good.
      return Object.fromEntries(
        stats.flatMap(({ tag, value }) => {
          const name = memoryStatNames[tag];
          return name === undefined ? [] : [[name, Number(value)]];
        }),
      );
    },
    async interfaceStats(domain, device, options) {
      return await call(devices.domainInterfaceStats, { domain, device }, options);
    },
  };
}
