/** The migrations of cloud.fake.ts: in memory, for what the wire and the CLI show. */
import { failure } from "../../core/failure-codes.ts";
import { forecast } from "../../core/migration/forecast.ts";
import { defaultCeilingMs } from "../../core/migration/policy.ts";
import type { StoryLine } from "../../core/migration/story.ts";
import type { AccountId, HostId, InstanceId, MigrationId, OperationId } from "../../lib/ids.ts";
import type * as use from "../cloud/migrations.ts";

const mib = 2 ** 20;
const createdAt = new Date("2026-01-02T03:04:05.000Z");

export const fakeTarget = "host-aaaaaaa2" as HostId;

type Told = (call: string, args: unknown[]) => void;
type Operate = (id: InstanceId, requestId: string) => { operationId: OperationId; accountId: AccountId };

export class FakeMigrations implements use.Migrations {
  readonly all: use.MigrationView[] = [];
  readonly stories = new Map<MigrationId, StoryLine[]>();
  readonly #told: Told;
  readonly #operate: Operate;

  constructor(told: Told, operate: Operate) {
    this.#told = told;
    this.#operate = operate;
  }

  begin: use.Migrations["begin"] = async (caller, instanceId, how) => {
    this.#told("migrations.begin", [caller, instanceId, how]);
    const { operationId, accountId } = this.#operate(instanceId, caller.requestId);
    const id = `mig-${String(this.all.length + 1).padStart(8, "0")}` as MigrationId;
    this.all.unshift({
      id,
      instanceId,
      accountId,
      operationId,
      sourceHostId: "host-aaaaaaa1" as HostId,
      targetHostId: how.to ?? fakeTarget,
      phase: "preparing",
      state: "PENDING",
      error: null,
      cancelling: false,
      policy: how.policy,
      ceilingMs: how.ceilingMs,
      moved: false,
      source: null,
      target: null,
      request: { askedBy: "operator", attempt: 1, tries: how.tries, next: null, waitsFor: null, notBefore: null },
      createdAt,
      deadline: new Date(createdAt.getTime() + 600_000),
      endedAt: null,
    });
    return { migrationId: id, operationId };
  };

  /** What speaks against the next plans. */
  refusals: use.PlanRefusal[] = [];

  plan: use.Migrations["plan"] = async (caller, instanceId, how) => {
    const { to } = how;
    this.#told("migrations.plan", [caller, instanceId, how]);
    const curve = { bytesPerSecond: 8 * mib, workingSetBytes: 32 * mib };
    const link = { bytesPerSecond: 100 * mib, roundTripMs: 0.25 };
    const foretold = { memoryBytes: 400 * mib, curve, linkBytesPerSecond: link.bytesPerSecond };
    return {
      instanceId,
      sourceHostId: "host-aaaaaaa1" as HostId,
      targetHostId: to ?? fakeTarget,
      chosen: to === null ? "best_fit" : "asked",
      refusals: this.refusals,
      memoryBytes: foretold.memoryBytes,
      imageHere: true,
      postcopy: false,
      link,
      samples: [{ ms: 1_000, bytes: 7 * mib }],
      prediction: forecast(
        { ...foretold, limitMs: 30, fixedMs: 20 },
        { ...how, ceilingMs: how.ceilingMs ?? defaultCeilingMs },
      ),
    };
  };

  list: use.Migrations["list"] = async (caller, query, page) => {
    this.#told("migrations.list", [caller, query, page]);
    const items = this.all.filter(
      ({ id, instanceId, endedAt }) =>
        (query.ids?.includes(id) ?? true) &&
        (query.instanceIds?.includes(instanceId) ?? true) &&
        (query.open === undefined || query.open === (endedAt === null)),
    );
    return { total: items.length, items: items.slice(page.offset, page.offset + page.limit) };
  };

  story: use.Migrations["story"] = async (caller, id) => {
    this.#told("migrations.story", [caller, id]);
    if (!this.all.some((one) => one.id === id)) throw failure("MigrationNotFound", `there is no migration ${id}`);
    return this.stories.get(id) ?? [];
  };

  cancel: use.Migrations["cancel"] = async (caller, id) => {
    this.#told("migrations.cancel", [caller, id]);
    const found = this.all.find((one) => one.id === id);
    if (found === undefined) throw failure("MigrationNotFound", `there is no migration ${id}`);
    found.cancelling = true;
  };
}
