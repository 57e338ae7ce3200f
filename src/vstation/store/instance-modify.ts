/** Writes attributes of locked instances. */
import { hostGenerationBump, type Tx } from "./database.ts";
import { toJson } from "./json.ts";
import type { InstanceRow } from "./schema.ts";

export type InstanceColumns = Partial<
  Pick<InstanceRow, "name" | "hostname" | "login" | "user_data" | "termination_protection" | "restart_policy">
>;

/** The type and all that follows from it; the host hears of it by what is ordered beside it. */
export async function instanceResizeRow(
  tx: Tx,
  id: InstanceRow["id"],
  columns: Pick<InstanceRow, "instance_type" | "vcpus" | "memory_mib" | "machine">,
): Promise<void> {
  const machine = toJson(columns.machine) as unknown as InstanceRow["machine"];
  await tx.db
    .updateTable("instance")
    .set({ ...columns, machine })
    .where("id", "=", id)
    .execute();
}

/** `hostHears`: stamps the rows with their host's next generation, so that the change is sent there. */
export async function instanceModifyRows(
  tx: Tx,
  rows: readonly InstanceRow[],
  columns: InstanceColumns,
  hostHears: boolean,
): Promise<void> {
  const hosts = new Set(hostHears ? rows.map((row) => row.host_id).filter((id) => id !== null) : []);
  const generations = await hostGenerationBump(tx, hosts);
  for (const hostId of new Set(rows.map((row) => row.host_id))) {
    const generation = hostId === null ? undefined : generations.get(hostId);
    const changes = generation === undefined ? columns : { ...columns, generation };
    if (Object.keys(changes).length === 0) continue;
    await tx.db
      .updateTable("instance")
      .set(changes)
      .where(
        "id",
        "in",
        rows.filter((row) => row.host_id === hostId).map((row) => row.id),
      )
      .execute();
  }
  for (const { id } of rows) {
    tx.wake.event("instance", id);
    tx.wake.instance(id);
  }
}
