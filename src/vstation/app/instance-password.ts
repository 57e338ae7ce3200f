/**
 * Passwords for guests. What is kept and what hosts are told is a hash as in /etc/shadow; the password itself is in the request and
 * nowhere else.
 */
import type { Login } from "../../api/agent.ts";
import { sha512Crypt } from "../../lib/sha512-crypt.ts";
import type { InstanceRunRequest, Instances } from "../cloud.ts";
import type { Store } from "../store/database.ts";
import { instanceModifyRows } from "../store/instance-modify.ts";
import { checkAtRest, lockAll, restart } from "./instance-power.ts";

export function loginOf(given: InstanceRunRequest["login"]): Login | null {
  return given && { user: given.user, passwordHash: sha512Crypt(given.password) };
}

export function instancePassword(store: Store): Instances["setPassword"] {
  return (caller, ids, given, force) => {
    // Before the transaction: it takes its time.
    const login = loginOf(given);
    return store.transaction(async (tx) => {
      const locked = await lockAll(tx, caller, ids);
      const running = checkAtRest(locked, force);
      const rows = locked.map(({ row }) => row);
      await instanceModifyRows(tx, rows, { login }, true);
      await restart(tx, caller, running);
    });
  };
}
