/** Moves of running guests. The whole native API is the operator's; on behalf of an account it finds that one's instances only. */
import type { MigrationWire } from "../../../api/native/migrations.ts";
import type { MigrationView } from "../../cloud/migrations.ts";
import { defined, oneOf, type Calls } from "../call.ts";

type Name =
  | "instanceMigrate"
  | "instanceMigratePlan"
  | "migrationList"
  | "migrationGet"
  | "migrationStory"
  | "migrationCancel";

export const migrationCalls: Calls<Name> = {
  async instanceMigrate({ cloud }, { params, request, operator }) {
    const { migrationId, operationId } = await cloud.migrations.begin(operator, params.id, request);
    return { migrationId, operationIds: operationId === null ? [] : [operationId] };
  },

  instanceMigratePlan({ cloud }, { params, request, operator }) {
    return cloud.migrations.plan(operator, params.id, request);
  },

  async migrationList({ cloud }, { query, operator }) {
    const { offset, limit, id: ids, instanceId: instanceIds, hostId: hostIds } = query;
    const open = query.open === undefined ? undefined : query.open === "true";
    const wanted = defined({ ids, instanceIds, hostIds, open });
    const { total, items } = await cloud.migrations.list(operator, wanted, { offset, limit });
    return { total, migrations: items.map(migrationAnswer) };
  },

  async migrationGet({ cloud }, { params, operator }) {
    return migrationAnswer(await oneOf("migration", params.id, cloud.migrations, operator));
  },

  async migrationStory({ cloud }, { params, operator }) {
    return { lines: [...(await cloud.migrations.story(operator, params.id))] };
  },

  async migrationCancel({ cloud }, { params, operator }) {
    await cloud.migrations.cancel(operator, params.id);
    return migrationAnswer(await oneOf("migration", params.id, cloud.migrations, operator));
  },
};

function migrationAnswer(view: MigrationView): MigrationWire {
  const { id, instanceId, accountId, operationId, sourceHostId, targetHostId, phase, state, error } = view;
  const { cancelling, policy, ceilingMs, moved, source, target, request } = view;
  return {
    id,
    instanceId,
    accountId,
    operationId,
    sourceHostId,
    targetHostId,
    phase,
    state,
    error: error === null ? null : { code: error.code, message: error.message },
    cancelling,
    policy,
    ceilingMs,
    moved,
    source,
    target,
    request: request && { ...request, notBefore: request.notBefore?.toISOString() ?? null },
    createdAt: view.createdAt.toISOString(),
    deadline: view.deadline?.toISOString() ?? null,
    endedAt: view.endedAt?.toISOString() ?? null,
  };
}
