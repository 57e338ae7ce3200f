/** Procedures of moving a running domain, and of the job that does it. */
import { int, intBool, opaque, uhyper, uint } from "../codec.ts";
import { domain, proc, stringMax, table, text, textOrNull, typedParams } from "./notation.ts";

const cookie = opaque(stringMax);
const params = typedParams(64);

export const migration = table("remote", {
  domainMigrateBegin3Params: proc(302, { domain, params, flags: uint }, { cookie, xml: text }),
  domainMigratePrepare3Params: proc(303, { params, cookie, flags: uint }, { cookie, uri: textOrNull }),
  domainMigratePrepareTunnel3Params: proc(304, { params, cookie, flags: uint }, { cookie }),
  domainMigratePerform3Params: proc(
    305,
    { domain, destinationUri: textOrNull, params, cookie, flags: uint },
    { cookie },
  ),
  domainMigrateFinish3Params: proc(306, { params, cookie, flags: uint, cancelled: intBool }, { domain, cookie }),
  domainMigrateConfirm3Params: proc(307, { domain, params, cookie, flags: uint, cancelled: intBool }),

  domainMigrateSetMaxDowntime: proc(166, { domain, ms: uhyper, flags: uint }),
  domainMigrateGetMaxDowntime: proc(387, { domain, flags: uint }, { ms: uhyper }),
  domainMigrateSetMaxSpeed: proc(207, { domain, mibPerSecond: uhyper, flags: uint }),
  domainMigrateGetMaxSpeed: proc(242, { domain, flags: uint }, { mibPerSecond: uhyper }),
  domainMigrateSetCompressionCache: proc(300, { domain, bytes: uhyper, flags: uint }),
  domainMigrateGetCompressionCache: proc(299, { domain, flags: uint }, { bytes: uhyper }),
  domainMigrateStartPostCopy: proc(364, { domain, flags: uint }),

  domainGetJobInfo: proc(
    163,
    { domain },
    {
      type: int,
      timeElapsed: uhyper,
      timeRemaining: uhyper,
      dataTotal: uhyper,
      dataProcessed: uhyper,
      dataRemaining: uhyper,
      memoryTotal: uhyper,
      memoryProcessed: uhyper,
      memoryRemaining: uhyper,
      fileTotal: uhyper,
      fileProcessed: uhyper,
      fileRemaining: uhyper,
    },
  ),
  domainGetJobStats: proc(298, { domain, flags: uint }, { type: int, params: typedParams(64) }),
  domainAbortJob: proc(164, { domain }),
  domainAbortJobFlags: proc(442, { domain, flags: uint }),
});
