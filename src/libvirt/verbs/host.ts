/** The verbs of the host: what it is, what it has left. */
import type { EmulatorWant, HostVerbs } from "../contract.ts";
import { connection } from "../protocol/connection.ts";
import type { Call } from "./call.ts";

/** Capabilities ask QEMU binaries for theirs when the daemon's cache is cold, which takes seconds each. */
const capabilitiesMs = 120_000;
const all = -1;

export function hostVerbs(call: Call): HostVerbs {
  return {
    async version(options) {
      const libvirt = await call(connection.connectGetLibVersion, {}, options);
      const hypervisor = await call(connection.connectGetVersion, {}, options);
      return { libvirt: versionText(libvirt.version), hypervisor: versionText(hypervisor.version) };
    },
    hostname: async (options) => (await call(connection.connectGetHostname, {}, options)).hostname,
    capabilities: async (options) =>
      (await call(connection.connectGetCapabilities, {}, options, capabilitiesMs)).capabilities,
    async domainCapabilities(want, options) {
      const args = { ...guess(want), flags: 0 };
      return (await call(connection.connectGetDomainCapabilities, args, options, capabilitiesMs)).capabilities;
    },
    async cpuCompare(want, cpu, options) {
      // Incompatible is an error, not an answer: only then libvirt says what is missing.
      const args = { ...guess(want), xml: cpu, flags: 1 };
      await call(connection.connectCompareHypervisorCpu, args, options, capabilitiesMs);
    },
    async cpuBaseline(want, cpus, options) {
      const args = { ...guess(want), xmls: cpus, flags: options?.expand === true ? 1 : 0 };
      return (await call(connection.connectBaselineHypervisorCpu, args, options, capabilitiesMs)).cpu;
    },
    async nodeInfo(options) {
      const info = await call(connection.nodeGetInfo, {}, options);
      const end = info.model.indexOf(0);
      return {
        model: String.fromCharCode(...info.model.slice(0, end < 0 ? undefined : end)),
        memoryKib: info.memoryKib,
        cpus: info.cpus,
        mhz: info.mhz,
        numaNodes: info.nodes,
        sockets: info.sockets,
        coresPerSocket: info.cores,
        threadsPerCore: info.threads,
      };
    },
    // Both lists take two calls, as libvirt's own clients do it: the number of fields, then exactly that many.
    async nodeMemoryStats(cell = all, options) {
      const { count } = await call(connection.nodeGetMemoryStats, { count: 0, cell, flags: 0 }, options);
      const { stats } = await call(connection.nodeGetMemoryStats, { count, cell, flags: 0 }, options);
      return Object.fromEntries(stats.map(({ field, value }) => [field, value]));
    },
    async nodeCpuStats(cpu = all, options) {
      const { count } = await call(connection.nodeGetCpuStats, { cpu, count: 0, flags: 0 }, options);
      const { stats } = await call(connection.nodeGetCpuStats, { cpu, count, flags: 0 }, options);
      return Object.fromEntries(stats.map(({ field, value }) => [field, value]));
    },
    async nodeFreePages(pageKib, cells, options) {
      const args = { pages: pageKib, startCell: cells.first, cellCount: cells.count, flags: 0 };
      return (await call(connection.nodeGetFreePages, args, options)).counts;
    },
  };
}

function guess({ emulator, arch, machine, virtType }: EmulatorWant) {
  return { emulator, arch, machine, virtType };
}

/** libvirt counts 11.3.0 as 11003000. */
function versionText(version: bigint): string {
  return [version / 1_000_000n, (version / 1_000n) % 1_000n, version % 1_000n].join(".");
}
