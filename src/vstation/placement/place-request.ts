/** What is asked of the placer for new instances, and what it answers. */
import type { Room } from "../../core/placement.ts";
import type { Amounts } from "../../core/quotas.ts";
import type { AccountId, GroupId, HostId, InstanceId } from "../../lib/ids.ts";
import type { Acceptance } from "../store/instance-insert.ts";
import type { SubnetRange } from "./addresses.ts";

export interface Placed {
  id: InstanceId;
  index: number;
  hostId: HostId;
  ip: string;
}

export interface PlaceRequest {
  accountId: AccountId;
  zone: string;
  /** The account's; those of instances, vCPUs and memory are kept here. */
  limits: Amounts;
  count: number;
  minCount: number;
  room: Room;
  /** What data disks on the host's own storage take beside it. */
  dataDiskGiB: number;
  group: { id: GroupId; affinity: number } | null;
  subnet: SubnetRange;
  /** Certain addresses of the subnet, one for each instance in order; null: any. */
  addresses: readonly string[] | null;
  /** Everything is checked and nothing is kept. */
  dryRun: boolean;
  /** The rows of what was placed. Called anew when an id turns out to be taken. */
  build: (placed: readonly Placed[]) => Acceptance;
}
