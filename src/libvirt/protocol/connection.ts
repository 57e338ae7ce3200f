/** Procedures of the connection and of the host it stands for. */
import { array, arrayFixed, int, intBool, opaque, small, struct, uhyper, uint } from "../codec.ts";
import { cpumapMax, domain, domainListMax, proc, quick, table, text, textOrNull, typedParams } from "./notation.ts";

const statsMax = 262_144;
const cellsMax = 1_024;
const guess = { emulator: textOrNull, arch: textOrNull, machine: textOrNull, virtType: textOrNull };
const counters = array(struct({ field: text, value: uhyper }), 16);

export const connection = table("remote", {
  connectOpen: quick(1, { uri: textOrNull, flags: uint }),
  connectClose: quick(2),
  connectGetType: quick(3, {}, { type: text }),
  connectGetVersion: quick(4, {}, { version: uhyper }),
  connectGetLibVersion: quick(157, {}, { version: uhyper }),
  connectGetHostname: quick(59, {}, { hostname: text }),
  connectGetUri: quick(110, {}, { uri: text }),
  connectSupportsFeature: quick(60, { feature: int }, { supported: intBool }),
  connectGetCapabilities: proc(7, {}, { capabilities: text }),
  connectGetDomainCapabilities: proc(342, { ...guess, flags: uint }, { capabilities: text }),
  connectGetSysinfo: quick(203, { flags: uint }, { sysinfo: text }),
  connectCompareHypervisorCpu: proc(393, { ...guess, xml: text, flags: uint }, { result: int }),
  connectBaselineHypervisorCpu: proc(394, { ...guess, xmls: array(text, 256), flags: uint }, { cpu: text }),
  connectGetCpuModelNames: proc(
    312,
    { arch: text, needResults: intBool, flags: uint },
    { models: array(text, 8_192), count: int },
  ),
  connectListAllDomains: quick(
    273,
    { needResults: intBool, flags: uint },
    { domains: array(domain, domainListMax), count: uint },
  ),
  connectGetAllDomainStats: proc(
    344,
    { domains: array(domain, domainListMax), stats: uint, flags: uint },
    { records: array(struct({ domain, params: typedParams(statsMax) }), domainListMax) },
  ),
  authList: quick(66, {}, { types: array(int, 20) }),

  nodeGetInfo: quick(
    6,
    {},
    {
      model: arrayFixed(small, 32),
      memoryKib: uhyper,
      cpus: int,
      mhz: int,
      nodes: int,
      sockets: int,
      cores: int,
      threads: int,
    },
  ),
  nodeGetCpuStats: quick(227, { cpu: int, count: int, flags: uint }, { stats: counters, count: int }),
  nodeGetMemoryStats: quick(228, { count: int, cell: int, flags: uint }, { stats: counters, count: int }),
  nodeGetFreeMemory: quick(102, {}, { bytes: uhyper }),
  nodeGetCellsFreeMemory: quick(101, { startCell: int, maxCells: int }, { cells: array(uhyper, cellsMax) }),
  nodeGetFreePages: quick(
    340,
    { pages: array(uint, cellsMax), startCell: int, cellCount: uint, flags: uint },
    { counts: array(uhyper, cellsMax) },
  ),
  nodeAllocPages: proc(
    347,
    {
      pageSizes: array(uint, cellsMax),
      pageCounts: array(uhyper, cellsMax),
      startCell: int,
      cellCount: uint,
      flags: uint,
    },
    { cells: int },
  ),
  nodeGetCpuMap: proc(
    293,
    { needMap: intBool, needOnline: intBool, flags: uint },
    { cpumap: opaque(cpumapMax), online: uint, count: int },
  ),
  nodeGetMemoryParameters: proc(289, { count: int, flags: uint }, { params: typedParams(64), count: int }),
  nodeSetMemoryParameters: proc(288, { params: typedParams(64), flags: uint }),
});
