/** Procedures of a domain's life, its definition and what is known of it. */
import { array, hyper, int, intBool, opaque, small, struct, uhyper, uint } from "../codec.ts";
import { cpumapMax, cpumapsMax, domain, proc, quick, table, text, textOrNull, typedParams, uuid } from "./notation.ts";

const vcpuInfo = struct({ number: uint, state: int, cpuTime: uhyper, cpu: int });
const address = struct({ type: int, addr: text, prefix: uint });

export const domains = table("remote", {
  domainDefineXmlFlags: quick(350, { xml: text, flags: uint }, { domain }),
  domainUndefineFlags: quick(231, { domain, flags: uint }),
  domainCreateXml: proc(10, { xml: text, flags: uint }, { domain }),
  domainCreateWithFlags: proc(196, { domain, flags: uint }, { domain }),
  domainDestroyFlags: quick(234, { domain, flags: uint }),
  domainShutdownFlags: proc(258, { domain, flags: uint }),
  domainReboot: proc(27, { domain, flags: uint }),
  domainReset: proc(245, { domain, flags: uint }),
  domainSuspend: proc(34, { domain }),
  domainResume: proc(28, { domain }),
  domainInjectNmi: proc(210, { domain, flags: uint }),
  domainPmWakeup: proc(267, { domain, flags: uint }),
  domainRename: proc(358, { domain, newName: textOrNull, flags: uint }, { result: int }),
  domainSetAutostart: quick(29, { domain, autostart: intBool }),
  domainGetAutostart: quick(15, { domain }, { autostart: intBool }),

  domainLookupById: quick(22, { id: int }, { domain }),
  domainLookupByName: quick(23, { name: text }, { domain }),
  domainLookupByUuid: quick(24, { uuid }, { domain }),
  domainIsActive: quick(150, { domain }, { active: intBool }),
  domainIsPersistent: quick(151, { domain }, { persistent: intBool }),
  domainGetState: quick(212, { domain, flags: uint }, { state: int, reason: int }),
  domainGetInfo: proc(
    16,
    { domain },
    { state: small, maxMemoryKib: uhyper, memoryKib: uhyper, vcpus: small, cpuTime: uhyper },
  ),
  domainGetControlInfo: quick(229, { domain, flags: uint }, { state: uint, details: uint, stateTime: uhyper }),
  domainGetXmlDesc: proc(14, { domain, flags: uint }, { xml: text }),
  domainGetMessages: proc(426, { domain, flags: uint }, { messages: array(text, 2_048) }),
  domainSetMetadata: proc(264, {
    domain,
    type: int,
    metadata: textOrNull,
    key: textOrNull,
    uri: textOrNull,
    flags: uint,
  }),
  domainGetMetadata: proc(265, { domain, type: int, uri: textOrNull, flags: uint }, { metadata: text }),

  domainManagedSave: proc(182, { domain, flags: uint }),
  domainHasManagedSaveImage: proc(183, { domain, flags: uint }, { present: intBool }),
  domainManagedSaveRemove: proc(184, { domain, flags: uint }),
  domainSaveFlags: proc(232, { domain, to: text, xml: textOrNull, flags: uint }),
  domainRestoreFlags: proc(233, { from: text, xml: textOrNull, flags: uint }),
  domainCoreDumpWithFormat: proc(334, { domain, to: text, format: uint, flags: uint }),

  domainOpenConsole: proc(201, { domain, device: textOrNull, flags: uint }),
  domainOpenChannel: proc(296, { domain, name: textOrNull, flags: uint }),
  domainScreenshot: proc(211, { domain, screen: uint, flags: uint }, { mime: textOrNull }),
  domainSendKey: proc(226, { domain, codeset: uint, holdMs: uint, keycodes: array(uint, 16), flags: uint }),

  domainSetVcpusFlags: proc(199, { domain, count: uint, flags: uint }),
  domainGetVcpusFlags: proc(200, { domain, flags: uint }, { count: int }),
  domainSetVcpu: proc(384, { domain, cpumap: text, state: int, flags: uint }),
  domainGetVcpus: quick(
    20,
    { domain, maxInfo: int, mapLength: int },
    { info: array(vcpuInfo, 16_384), cpumaps: opaque(cpumapsMax) },
  ),
  domainPinVcpuFlags: proc(225, { domain, vcpu: uint, cpumap: opaque(cpumapMax), flags: uint }),
  domainGetVcpuPinInfo: proc(
    230,
    { domain, maps: int, mapLength: int, flags: uint },
    { cpumaps: opaque(cpumapsMax), count: int },
  ),
  domainPinEmulator: proc(279, { domain, cpumap: opaque(cpumapMax), flags: uint }),
  domainGetEmulatorPinInfo: proc(
    280,
    { domain, mapLength: int, flags: uint },
    { cpumaps: opaque(cpumapsMax), count: int },
  ),
  domainGetIothreadInfo: proc(
    351,
    { domain, flags: uint },
    { info: array(struct({ id: uint, cpumap: opaque(cpumapMax) }), 16_384), count: uint },
  ),
  domainPinIothread: proc(352, { domain, iothread: uint, cpumap: opaque(cpumapMax), flags: uint }),
  domainAddIothread: proc(355, { domain, iothread: uint, flags: uint }),
  domainDelIothread: proc(356, { domain, iothread: uint, flags: uint }),
  domainSetIothreadParams: proc(402, { domain, iothread: uint, params: typedParams(64), flags: uint }),

  domainSetMemoryFlags: proc(204, { domain, memoryKib: uhyper, flags: uint }),
  domainGetMaxMemory: quick(17, { domain }, { memoryKib: uhyper }),
  domainMemoryStats: proc(
    159,
    { domain, max: uint, flags: uint },
    { stats: array(struct({ tag: int, value: uhyper }), 1_024) },
  ),
  domainSetMemoryStatsPeriod: proc(308, { domain, seconds: int, flags: uint }),
  domainStartDirtyRateCalc: proc(427, { domain, seconds: int, flags: uint }),
  domainMemoryPeek: proc(104, { domain, offset: uhyper, size: uint, flags: uint }, { buffer: opaque(4_194_304) }),

  domainInterfaceAddresses: proc(
    353,
    { domain, source: uint, flags: uint },
    {
      interfaces: array(struct({ name: text, hwaddr: textOrNull, addresses: array(address, 2_048) }), 2_048),
    },
  ),
  domainGetHostname: proc(277, { domain, flags: uint }, { hostname: text }),
  domainGetTime: proc(337, { domain, flags: uint }, { seconds: hyper, nanoseconds: uint }),
  domainSetTime: proc(338, { domain, seconds: hyper, nanoseconds: uint, flags: uint }),
  domainFsFreeze: proc(335, { domain, mountpoints: array(text, 256), flags: uint }, { filesystems: int }),
  domainFsThaw: proc(336, { domain, mountpoints: array(text, 256), flags: uint }, { filesystems: int }),
  domainFsTrim: proc(294, { domain, mountpoint: textOrNull, minimum: uhyper, flags: uint }),
  domainGetGuestInfo: proc(418, { domain, types: uint, flags: uint }, { params: typedParams(2_048) }),
});
