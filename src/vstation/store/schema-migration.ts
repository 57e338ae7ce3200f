/** The tables of moves of running guests, as migrations/0011-guest-migration.ts and later ones make them. */
import type { ColumnType, Generated, Selectable } from "kysely";
import type { Fate, Progress, SourceState, TargetState } from "../../core/migration/halves.ts";
import type { MigrationPolicy } from "../../core/migration/policy.ts";
import type { StoryLine } from "../../core/migration/story.ts";
import type { HostId, InstanceId, MigrationId, OperationId } from "../../lib/ids.ts";

type Json<T> = ColumnType<T, T, T>;
type Time = ColumnType<Date, Date | string, Date | string>;
type MaybeTime = ColumnType<Date | null, Date | string | null, Date | string | null>;

export interface MigrationTable {
  id: MigrationId;
  zone: string;
  instance_id: InstanceId;
  operation_id: OperationId;
  source_host: HostId;
  target_host: HostId;
  /** Of the instance at the target, should it arrive. */
  epoch: number;
  incarnation: number;
  resets: number;
  policy: Generated<MigrationPolicy>;
  /** Milliseconds; where the pause may grow. */
  ceiling_ms: number;
  wish: Generated<"go" | "cancel">;
  /** The instance is the target's. */
  moved: Generated<boolean>;
  source_generation: number;
  target_generation: number;
  /** What the source is told of the target. */
  port: number | null;
  fate: Fate | null;
  /** The half is told that it is over. */
  source_over: Generated<boolean>;
  target_over: Generated<boolean>;
  /** Each written by what its own host says, and by nobody else. */
  seen_source: Json<SourceState | null>;
  seen_target: Json<TargetState | null>;
  seen_source_at: MaybeTime;
  deadline: Time;
  created_at: Generated<Date>;
  ended_at: MaybeTime;
  /** Null: it was begun before there were requests. */
  request_id: MigrationId | null;
  /** Which of its request's tries it is. */
  attempt: Generated<number>;
  /** The last that was heard of its copy, for who orders the next one. */
  last_progress: Json<Progress | null>;
}

/** What the source has told of the course of a move, the whole of it each time. */
export interface MigrationStoryTable {
  migration_id: MigrationId;
  lines: Json<StoryLine[]>;
}

export interface MigrationRequestTable {
  /** That of its first try. */
  id: MigrationId;
  zone: string;
  instance_id: InstanceId;
  asked_by: "operator" | "drain";
  /** Where its guest was when it was asked for. */
  source_host: HostId;
  to_host: HostId | null;
  policy: MigrationPolicy;
  ceiling_ms: number;
  tries: number;
  attempt: Generated<number>;
  /** Of the present try; while there is no migration of this id, it waits to begin. */
  migration_id: MigrationId;
  strikes: Generated<number>;
  not_before: Generated<Date>;
  /** Since when its present try has been refused to begin, one time after the other; null: it has not been. */
  refused_at: MaybeTime;
  /** Why it waits, or why it was given up. */
  code: string | null;
  message: string | null;
  caller_request: string;
  created_at: Generated<Date>;
  queued_at: Generated<Date>;
  ended_at: MaybeTime;
  moved: Generated<boolean>;
}

export type MigrationRequestRow = Selectable<MigrationRequestTable>;

export type MigrationRow = Selectable<MigrationTable>;
