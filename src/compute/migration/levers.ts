/**
 * The levers on a copy that is under way (core/migration/policy.ts says when), as libvirt and QEMU have them.
 *
 * The brake is QEMU's auto-converge, which must be there when the copy begins and whose parameters libvirt does not all know. So it is
 * armed at the lowest level, and its level is then changed in QEMU itself: initial level and upper bound are the same number, and
 * one increment leads from any level to the bound, so that the level is ours and not QEMU's. QEMU takes a new level at every second
 * pass whose changed memory exceeds the trigger's share of what was sent, and lets go of the brake when the copy ends, however it ends.
 *
 * It is armed before libvirt begins: libvirt notes the parameters then, and puts them back after a copy that failed.
 */
import type { Lever } from "../../core/migration/policy.ts";
import { unreachable } from "../../lib/errors.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";

type Libvirt = Pick<Hypervisor, "qmp" | "migrateSetMaxDowntime">;

/** QEMU knows no zero. */
const lowest = 1;
/** Armed but not pulled: only a pass that is worse than the one before it rests the guest, for one per cent. */
const armedTrigger = 100;
const pulledTrigger = 1;

export async function armBrake(libvirt: Libvirt, domain: DomainRef): Promise<void> {
  await setBrake(libvirt, domain, { initial: lowest, increment: 99, max: lowest, trigger: armedTrigger });
}

/** As QEMU has it from the start. */
export async function disarmBrake(libvirt: Libvirt, domain: DomainRef): Promise<void> {
  await setBrake(libvirt, domain, { initial: 20, increment: 10, max: 99, trigger: 50 });
}

async function setBrake(
  libvirt: Libvirt,
  domain: DomainRef,
  { initial, increment, max, trigger }: { initial: number; increment: number; max: number; trigger: number },
): Promise<void> {
  await libvirt.qmp(domain, "migrate-set-parameters", {
    "cpu-throttle-initial": initial,
    "cpu-throttle-increment": increment,
    "max-cpu-throttle": max,
    "throttle-trigger-threshold": trigger,
  });
}

/** What is not one call of libvirt's: `giveUp` ends the copy, `postcopy` has the target ready for the switch and then switches. */
export interface Ways {
  readonly giveUp: () => void;
  readonly postcopy: () => Promise<void>;
}

export async function pull(libvirt: Libvirt, domain: DomainRef, lever: Lever, ways: Ways): Promise<void> {
  switch (lever.pull) {
    case "throttle": {
      const level = Math.max(lowest, lever.percent);
      return await setBrake(libvirt, domain, { initial: level, increment: 99, max: level, trigger: pulledTrigger });
    }
    case "pause":
      return await libvirt.migrateSetMaxDowntime(domain, BigInt(Math.round(lever.limitMs)));
    case "postcopy":
      return await ways.postcopy();
    case "give_up":
      return ways.giveUp();
    default:
      return unreachable(lever);
  }
}
