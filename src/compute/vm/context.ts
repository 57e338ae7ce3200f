/** What every instance's worker shares: the host's one libvirt, one network, one set of folders. */
import type { SeenInstance } from "../../api/agent.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Hypervisor } from "../hypervisor.ts";
import type { Network } from "../network/network.ts";
import type { Paths } from "../paths.ts";
import type { DiskFiles } from "../storage/disk-files.ts";
import type { Images } from "../storage/images.ts";
import type { Write } from "../storage/reserve.ts";
import type { Limit } from "../limit.ts";
import type { WantedEntry } from "../wanted/store.ts";
import type { Machines } from "../machine/machines.ts";
import type { DiskIo } from "./domain-xml/disks.ts";
import type { Accelerator } from "./domain-xml/machine.ts";
import type { Seeds } from "./prepare.ts";

export interface Context {
  readonly log: Log;
  readonly libvirt: Hypervisor;
  readonly paths: Paths;
  readonly bootId: string;
  readonly accelerator: Accelerator;
  /** Whether a guest that is started now gets one. */
  readonly dirtyRing: () => boolean;
  readonly emulator: string;
  readonly diskCache: "none" | "writeback";
  readonly diskIo: DiskIo;
  readonly disks: DiskFiles;
  readonly images: Pick<Images, "find" | "ensure">;
  readonly seeds: Seeds;
  readonly network: Pick<
    Network,
    "changed" | "ensureGuest" | "forgetConnections" | "guard" | "place" | "readySwitch" | "settle" | "sync" | "tracked"
  >;
  readonly machines: Machines;
  /** Puts a note on the disk, if need be from the reserve. */
  readonly write: Write;
  /** How many guests are made ready and started at once. */
  readonly starts: Limit;
  readonly wanted: (id: InstanceId) => WantedEntry | undefined;
  /** null: there is nothing to report about it any more. */
  readonly publish: (id: InstanceId, seen: SeenInstance | null) => void;
  /** A guest is paused for want of space: call back when there is room. */
  readonly onRoom: (id: InstanceId) => void;
  readonly nowMs: () => number;
}
