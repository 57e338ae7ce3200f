/** The levers on a copy that is under way (core/migration/policy.ts says when), as libvirt and QEMU have them. */
import type { Lever } from "../../core/migration/policy.ts";
import { unreachable } from "../../lib/errors.ts";
import type { DomainRef } from "../../libvirt/contract.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { Brake } from "./brake.ts";

/** What is not one call of libvirt's: `giveUp` ends the copy, `postcopy` has the target ready for the switch and then switches. */
export interface Ways {
  readonly brake: Brake;
  readonly giveUp: () => void;
  readonly postcopy: () => Promise<void>;
}

export async function pull(
  libvirt: Pick<Hypervisor, "migrateSetMaxDowntime">,
  domain: DomainRef,
  lever: Lever,
  ways: Ways,
): Promise<void> {
  switch (lever.pull) {
    case "throttle":
      return await ways.brake.pull(lever.percent);
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
