/** What only a real PostgreSQL can show of the store: rules kept by its indexes, the same state in SQL as in code, and order. */
import { join } from "node:path";
import { sql } from "kysely";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { EventTail } from "../../src/vstation/app/event-tail.ts";
import { accountBootstrap } from "../../src/vstation/store/accounts.ts";
import { clientTokenFind, clientTokensForget, requestHash } from "../../src/vstation/store/client-tokens.ts";
import { Store, isAway, type Reader } from "../../src/vstation/store/database.ts";
import { stateExpression } from "../../src/vstation/store/instance-list.ts";
import { Listener } from "../../src/vstation/store/listener.ts";
import { migrate, migrations } from "../../src/vstation/store/migrate.ts";
import { toJson } from "../../src/vstation/store/json.ts";
import type { Wake } from "../../src/vstation/store/wake.ts";
import { instanceState, type StateInput } from "../../src/core/instance-state.ts";
import { operationKinds, restartPolicies } from "../../src/core/instance.ts";
import { isFailure } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { Keyring } from "../../src/vstation/keyring.ts";
import { createLog } from "../../src/lib/log.ts";
import { until } from "../until.ts";
import { TestPostgres } from "./support/postgres.ts";

const postgres = new TestPostgres();
const log = createLog("test");
let database: string;
let store: Store;

beforeAll(async () => {
  await postgres.start();
  database = await postgres.database();
  store = new Store({ database, replica: "one", log });
  await migrate(store, log);
});
afterAll(async () => {
  await store.close();
  await postgres.close();
});

describe("the schema", () => {
  it("can be brought up to date by many at once", async () => {
    const fresh = await postgres.database();
    const stores = [1, 2, 3].map((n) => new Store({ database: fresh, replica: String(n), log }));
    await Promise.all(stores.map((one) => migrate(one, log)));
    const rows = await postgres.query<{ n: number }>(fresh, "select count(*)::int as n from kysely_migration");
    expect(rows[0]?.n).toBe(Object.keys(migrations).length);
    await Promise.all(stores.map((one) => one.close()));
  });
});

describe("the state in SQL", () => {
  const phases = [
    null,
    "preparing",
    "starting",
    "running",
    "paused",
    "stopping",
    "exited",
    "stopped",
    "failed",
    "gone",
    "stranger",
  ] as const;
  const powers = [
    { is: "running" },
    { is: "stopped", how: "soft" },
    { is: "gone", purpose: "terminate" },
    { is: "gone", purpose: "relocate" },
    { is: "gone", purpose: "launch_failed" },
  ] as const satisfies StateInput["power"][];

  it("is the state in code, for every input there is", async () => {
    const inputs: StateInput[] = powers.flatMap((power) =>
      phases.flatMap((seen) =>
        [null, ...operationKinds].flatMap((open) =>
          restartPolicies.map((restartPolicy) => ({ power, seen, open, restartPolicy })),
        ),
      ),
    );
    const rows = inputs.flatMap(({ power, seen, open, restartPolicy }, n) => ({
      n,
      power: power.is,
      gone_for: power.is === "gone" ? power.purpose : null,
      restart_policy: restartPolicy,
      seen: seen === null ? null : { is: seen },
      seen_epoch: 1,
      epoch: 1,
      kind: open,
    }));
    const said = await store.read((db: Reader) =>
      sql<{ state: string }>`
        select ${stateExpression} as state
        from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as i(n int, power text, gone_for text,
          restart_policy text, seen jsonb, seen_epoch int, epoch int, kind text)
        cross join lateral (select i.kind) o(kind)
        order by i.n`.execute(db),
    );
    expect(said.rows.map(({ state }) => state)).toEqual(inputs.map((input) => instanceState(input)));
  });

  it("does not look at reports of an earlier placement", async () => {
    const { rows } = await store.read((db: Reader) =>
      sql<{ state: string }>`
        select ${stateExpression} as state
        from (select 'stopped' as power, null as gone_for, 'always' as restart_policy, '{"is": "running"}'::jsonb as seen,
          1 as seen_epoch, 2 as epoch) i cross join (select null::text as kind) o`.execute(db),
    );
    expect(rows[0]?.state).toBe("STOPPED");
  });
});

describe("a snapshot", () => {
  it("shows one moment to all of its queries, and lets none of them write", async () => {
    await store.read((db: Reader) => sql`create table moment (n int)`.execute(db));
    const count = async (db: Reader): Promise<number | undefined> =>
      (await sql<{ n: number }>`select count(*)::int as n from moment`.execute(db)).rows[0]?.n;
    const add = (db: Reader): Promise<unknown> => sql`insert into moment values (1)`.execute(db);
    const counts = await store.snapshot(async (db) => {
      const before = await count(db);
      await store.read(add);
      return [before, await count(db)];
    });
    expect([...counts, await store.read(count)]).toEqual([0, 0, 1]);
    await expect(store.snapshot(add)).rejects.toThrow("read-only transaction");
  });
});

describe("a client token", () => {
  it("keeps its answer for two weeks", async () => {
    const hash = requestHash({ a: 1 });
    const account = (await accountBootstrap(store, await Keyring.open(join(postgres.directory, "keys"), true)))
      .accountId;
    for (const [token, age] of [
      ["old", 15],
      ["young", 13],
    ] as const) {
      await store.read((db: Reader) =>
        sql`insert into client_token (account_id, action, token, request_hash, answer, created_at)
          values (${account}, 'x', ${token}, ${hash}, '{}', now() - make_interval(days => ${age}))`.execute(db),
      );
    }
    await clientTokensForget(store, 14);
    const find = (token: string): Promise<unknown> =>
      store.read((db: Reader) => clientTokenFind(db, account, "x", token, hash));
    expect([await find("old"), await find("young")]).toEqual([undefined, {}]);
  });
});

describe("events", () => {
  it("are handed out in order even when a lower id is committed later, and not held up by one that never comes", async () => {
    const tail = new EventTail(store, log);
    const aborted = new AbortController();
    const seen: string[] = [];
    const following = (async () => {
      for await (const { subjectId } of tail.follow(undefined, aborted.signal)) seen.push(subjectId);
    })();
    await until("the reader is at work", async () => {
      await store.transaction(async ({ wake }) => wake.event("host", "first"));
      tail.nudge();
      return seen.length > 0;
    });
    const lastId = async (): Promise<number> => {
      const { rows } = await store.read((db: Reader) =>
        sql<{ last: number }>`select last_value::int as last from event_id_seq`.execute(db),
      );
      return rows[0]?.last ?? 0;
    };
    const before = await lastId();
    const later = (): string[] => seen.filter((id) => id !== "first");
    const slow = Promise.withResolvers<void>();
    const insert = (db: Reader, id: string) =>
      sql`insert into event (subject, subject_id) values ('host', ${id})`.execute(db);
    const slowly = store.transaction(async ({ db }) => {
      await insert(db, "slow");
      await slow.promise;
    });
    const failing = store
      .transaction(async ({ db }) => {
        await insert(db, "never");
        await slow.promise;
        throw new Error("rolled back");
      })
      .catch(() => undefined);
    await until("both ids are taken", async () => (await lastId()) >= before + 2);
    await store.transaction(async ({ db }) => insert(db, "quick"));
    // Time for the reader to see the higher id alone, which is what it must not hand out yet.
    for (let n = 0; n < 50; n++) {
      tail.nudge();
      await store.read((db: Reader) => sql`select 1`.execute(db));
    }
    const early = later();
    slow.resolve();
    await Promise.all([slowly, failing]);
    await until("both", () => later().length === 2);
    expect([early, later()]).toEqual([[], ["slow", "quick"]]);
    aborted.abort();
    await following;
    await tail.close();
  });
});

describe("other replicas", () => {
  it("hear of a commit, not of their own, and are told to read anew after a lost connection", async () => {
    const heard: Wake[] = [];
    let fresh = 0;
    // By this name their connections are told from all others, whatever they last asked.
    const named = new URL(database);
    named.searchParams.set("application_name", "listeners");
    const options = {
      database: named.href,
      log,
      onWake: (wake: Wake) => heard.push(wake),
      onFresh: () => void fresh++,
    };
    const listener = new Listener({ ...options, replica: "two" });
    await until("the connection", () => fresh === 1);
    const ids = Array.from({ length: 900 }, (_, n) => `ins-${String(n).padStart(8, "0")}` as InstanceId);
    await store.transaction(async ({ wake }) => {
      for (const id of ids) wake.instance(id);
      wake.peers = true;
    });
    await until("every id", () => heard.flatMap(({ instances }) => [...instances]).length === ids.length);
    expect(heard.some(({ peers }) => peers)).toBe(true);
    const silent = new Listener({ ...options, replica: "one" });
    await until("the second connection", () => fresh === 2);
    heard.splice(0);
    await store.transaction(async ({ wake }) => wake.instance(ids[0] as InstanceId));
    await until("the other one hears it", () => heard.length === 1);
    const terminate = "select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'listeners'";
    expect(await postgres.query(database, terminate)).toHaveLength(2);
    await until("both are connected again", () => fresh === 4);
    await Promise.all([listener.close(), silent.close()]);
  });
});

describe("a database that is away", () => {
  it("is told apart from everything else, by whichever way it goes", async () => {
    const own = new TestPostgres();
    await own.start();
    const other = new Store({ database: await own.database(), replica: "x", log });
    try {
      await other.read((db: Reader) => sql`select 1`.execute(db));
      const hanging = other
        .transaction(async ({ db }) => sql`select pg_sleep(30)`.execute(db))
        .catch((error: unknown) => error);
      await until("it hangs", async () => {
        const rows = await own.query(
          "postgres",
          "select pid from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()",
        );
        return rows.length > 0;
      });
      await own.kill();
      expect(isAway(await hanging)).toBe(true);
      const failed = await other.read((db: Reader) => sql`select 1`.execute(db)).catch((error: unknown) => error);
      expect(isFailure(failed, "unavailable") && failed.code).toBe("DatabaseUnavailable");
      await own.start();
      await until("it answers again", () => other.read((db: Reader) => sql`select 1`.execute(db)));
      const wrong = await other.read((db: Reader) => sql`select nonsense`.execute(db)).catch((error: unknown) => error);
      expect(isAway(wrong)).toBe(false);
    } finally {
      await other.close();
      await own.close();
    }
  });
});

describe("JSON for PostgreSQL", () => {
  it("holds whatever a string can hold, with signs for what cannot be stored", async () => {
    for (const text of ["plain", "\\u0000 spelled out", "a\0b", "\ud800", "\udfffx", "😀 stays", '"quoted" \\']) {
      const { rows } = await store.read((db: Reader) =>
        sql<{ v: { t: string } }>`select ${toJson({ t: text })}::jsonb as v`.execute(db),
      );
      expect(rows[0]?.v.t).toBe(text.toWellFormed().replaceAll("\0", "\ufffd"));
    }
  });
});
