/** Takes away the network that an account was given without asking for one (network-seed.ts), when the account itself goes. */
import { sql } from "kysely";
import type { AccountId } from "../../lib/ids.ts";
import type { Reader, Tx } from "./database.ts";

/** How many of the account's networks and groups were made by nobody. */
export async function networkGiven(
  db: Reader,
  account: AccountId,
): Promise<{ vpcs: number; subnets: number; securityGroups: number }> {
  const { rows } = await sql<{ vpcs: number; subnets: number; securityGroups: number }>`
    select
      (select count(*) from vpc where account_id = ${account} and is_default) as vpcs,
      (select count(*) from subnet where account_id = ${account} and is_default) as subnets,
      (select count(*) from security_group where account_id = ${account} and is_default) as "securityGroups"`.execute(
    db,
  );
  return rows[0] ?? { vpcs: 0, subnets: 0, securityGroups: 0 };
}

/** Everything of the account's networks; whoever calls has seen that nothing but what was given is there. */
export async function networkForget(tx: Tx, account: AccountId): Promise<void> {
  const ofAccount = sql`(select id from route_table where account_id = ${account})`;
  for (const statement of [
    sql`delete from security_group_policy where security_group_id in (select id from security_group where account_id = ${account})`,
    sql`delete from security_group where account_id = ${account}`,
    sql`delete from route where route_table_id in ${ofAccount}`,
    sql`delete from nat_gateway where account_id = ${account}`,
    sql`delete from subnet where account_id = ${account}`,
    sql`delete from route_table where account_id = ${account}`,
    sql`delete from vpc where account_id = ${account}`,
    sql`delete from tag where account_id = ${account}`,
  ]) {
    await statement.execute(tx.db);
  }
}
