/** Procedures of a domain's devices: plugging, disks, interfaces, block jobs. */
import { array, hyper, int, intBool, struct, uhyper, uint } from "../codec.ts";
import { domain, proc, quick, table, text, textOrNull, typedParams } from "./notation.ts";

const tuneMax = 32;

export const devices = table("remote", {
  domainAttachDeviceFlags: proc(160, { domain, xml: text, flags: uint }),
  domainDetachDeviceFlags: proc(161, { domain, xml: text, flags: uint }),
  domainDetachDeviceAlias: proc(392, { domain, alias: text, flags: uint }),
  domainUpdateDeviceFlags: proc(174, { domain, xml: text, flags: uint }),

  domainGetBlockInfo: proc(
    194,
    { domain, disk: text, flags: uint },
    { allocation: uhyper, capacity: uhyper, physical: uhyper },
  ),
  domainBlockStats: proc(
    64,
    { domain, disk: text },
    { readRequests: hyper, readBytes: hyper, writeRequests: hyper, writeBytes: hyper, errors: hyper },
  ),
  domainBlockStatsFlags: proc(
    243,
    { domain, disk: text, count: int, flags: uint },
    { params: typedParams(16), count: int },
  ),
  domainBlockResize: proc(251, { domain, disk: text, size: uhyper, flags: uint }),
  domainGetDiskErrors: proc(
    263,
    { domain, max: uint, flags: uint },
    { errors: array(struct({ disk: text, error: int }), 256), count: int },
  ),
  domainSetBlockIoTune: proc(252, { domain, disk: text, params: typedParams(tuneMax), flags: uint }),
  domainGetBlockIoTune: proc(
    253,
    { domain, disk: textOrNull, count: int, flags: uint },
    { params: typedParams(tuneMax), count: int },
  ),
  domainSetBlockThreshold: proc(386, { domain, device: text, threshold: uhyper, flags: uint }),

  domainGetBlockJobInfo: proc(
    238,
    { domain, disk: text, flags: uint },
    { found: intBool, type: int, bandwidth: uhyper, cursor: uhyper, end: uhyper },
  ),
  domainBlockJobAbort: proc(237, { domain, disk: text, flags: uint }),
  domainBlockJobSetSpeed: proc(239, { domain, disk: text, bandwidth: uhyper, flags: uint }),
  domainBlockPull: proc(240, { domain, disk: text, bandwidth: uhyper, flags: uint }),
  domainBlockRebase: proc(266, { domain, disk: text, base: textOrNull, bandwidth: uhyper, flags: uint }),
  domainBlockCommit: proc(290, {
    domain,
    disk: text,
    base: textOrNull,
    top: textOrNull,
    bandwidth: uhyper,
    flags: uint,
  }),
  domainBlockCopy: proc(345, { domain, disk: text, xml: text, params: typedParams(16), flags: uint }),

  domainInterfaceStats: quick(
    65,
    { domain, device: text },
    {
      rxBytes: hyper,
      rxPackets: hyper,
      rxErrors: hyper,
      rxDrops: hyper,
      txBytes: hyper,
      txPackets: hyper,
      txErrors: hyper,
      txDrops: hyper,
    },
  ),
  domainSetInterfaceParameters: proc(256, { domain, device: text, params: typedParams(16), flags: uint }),
  domainGetInterfaceParameters: proc(
    257,
    { domain, device: text, count: int, flags: uint },
    { params: typedParams(16), count: int },
  ),
});
