/** The use cases of live migration: an operator's, never a tenant's. */
import type { LinkFacts } from "../../api/agent-preflight.ts";
import type { Forecast } from "../../core/migration/forecast.ts";
import type { DirtySample } from "../../core/migration/prediction.ts";
import type { MigrationPhase } from "../../core/migration/migration.ts";
import type { SourceState, TargetState } from "../../core/migration/halves.ts";
import type { MigrationPolicy } from "../../core/migration/policy.ts";
import type { StoryLine } from "../../core/migration/story.ts";
import type { OperationState } from "../../core/instance.ts";
import type { AccountId, HostId, InstanceId, MigrationId, OperationId } from "../../lib/ids.ts";
import type { AnyCaller, Listed, Page } from "../cloud.ts";

export interface MigrationView {
  id: MigrationId;
  instanceId: InstanceId;
  accountId: AccountId;
  /** Null while it waits in the queue. */
  operationId: OperationId | null;
  sourceHostId: HostId;
  /** Null while it waits in the queue, and no certain host was asked for. */
  targetHostId: HostId | null;
  phase: MigrationPhase;
  /** How its operation stands: it ends before both hosts have cleared up. */
  state: OperationState;
  error: { code: string; message: string } | null;
  /** Somebody, or its deadline, has called it off. */
  cancelling: boolean;
  policy: MigrationPolicy;
  /** null: the pause may not grow. */
  ceilingMs: number | null;
  /** The instance is the target's. */
  moved: boolean;
  /** The last words of its halves. */
  source: SourceState | null;
  target: TargetState | null;
  /** Of the request that it is a try of; null: of one that was begun by a former release. */
  request: MigrationRequestView | null;
  createdAt: Date;
  /** Null while it waits in the queue. */
  deadline: Date | null;
  /** Since when nothing of it is open at either host. */
  endedAt: Date | null;
}

export interface PlanRefusal {
  /** As the order would be refused, or as its operation would end. */
  code: string;
  message: string;
  /** Who found it: VStation alone, what the two hosts said of themselves, or the one that did not answer well. */
  by: "vstation" | "hosts" | "source" | "target" | "link";
}

/** What a move would come to. null: it could not be known, and a refusal says why. */
export interface MigrationPlan {
  instanceId: InstanceId;
  sourceHostId: HostId | null;
  targetHostId: HostId | null;
  /** Why that target: it was asked for, or of those that can take it the one that is left with the least room. */
  chosen: "asked" | "best_fit";
  /** None: a move would be begun. */
  refusals: PlanRefusal[];
  /** So much is to be sent at first. */
  memoryBytes: number | null;
  /** Its image lies at the target; else it is fetched first. */
  imageHere: boolean | null;
  /** The target could fetch memory while the guest runs there. */
  postcopy: boolean | null;
  link: LinkFacts | null;
  samples: DirtySample[] | null;
  prediction: Forecast | null;
}

export interface MigrationRequestView {
  askedBy: "operator" | "drain";
  /** Which try this is, from 1 on, and how many there are at most. */
  attempt: number;
  tries: number;
  /** The try that follows on this one, which came to nothing. */
  next: MigrationId | null;
  /** Of one that waits: what stands in its way, where that is not just others, and when it is looked at again. */
  waitsFor: { code: string; message: string } | null;
  notBefore: Date | null;
}

export interface MigrationQuery {
  ids?: MigrationId[];
  instanceIds?: InstanceId[];
  /** As source or target. */
  hostIds?: HostId[];
  open?: boolean;
}

export interface MigrateHow {
  /** null: to the one where it fits best. */
  to: HostId | null;
  policy: MigrationPolicy;
  /** Only for a policy by which the pause may grow; null: its default. */
  ceilingMs: number | null;
  /** How often it is tried at most. */
  tries: number;
}

export interface Migrations {
  /** Begins, or waits in the queue for its turn: then there is no operation yet. */
  begin(
    caller: AnyCaller,
    id: InstanceId,
    how: MigrateHow,
  ): Promise<{ migrationId: MigrationId; operationId: OperationId | null }>;
  /** What {@link begin} would come to; changes nothing. */
  plan(caller: AnyCaller, id: InstanceId, how: Omit<MigrateHow, "tries">): Promise<MigrationPlan>;
  /** Newest first. */
  list(caller: AnyCaller, query: MigrationQuery, page: Page): Promise<Listed<MigrationView>>;
  /** What its source has told of its course so far: all of it when it has ended. */
  story(caller: AnyCaller, id: MigrationId): Promise<readonly StoryLine[]>;
  /** Throws MigrationTooLate when its end is decided. One that is being handed over may arrive all the same. */
  cancel(caller: AnyCaller, id: MigrationId): Promise<void>;
}
