/** Drains of hosts: how they are asked for, and what is printed of them. */
import { expect, it } from "vitest";
import type { InstanceId } from "../lib/ids.ts";
import type { DrainView } from "../vstation/cloud.ts";
import { fakeHost } from "../vstation/native/cloud.fake.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

function isDrained(change: Partial<DrainView>): void {
  const [host] = here.cloud.allHosts;
  if (host === undefined) throw new Error("no host");
  const drain = { since: new Date(0), policy: "gentle" as const, ceilingMs: null, moved: 0, left: [], ...change };
  Object.assign(host, { cordoned: true, drain });
}

const asked = (): unknown[] => here.cloud.seen.filter(({ call }) => call === "hosts.drain").map(({ args }) => args[1]);

it("is asked for by a policy, or as it is", async () => {
  isDrained({});
  expect(await cli("host drain host1 --policy finish --ceiling 5000")).toMatchObject({ code: 0 });
  expect(await cli("host drain host1")).toMatchObject({ code: 0 });
  expect(asked()).toEqual([
    { policy: "finish", ceilingMs: 5_000 },
    { policy: null, ceilingMs: null },
  ]);
  expect(await cli("host drain host1 --policy harsh")).toMatchObject({ code: 2 });
  expect(await cli("host drain host1 --policy finish --ceiling 9")).toMatchObject({ code: 2 });
  expect(asked()).toHaveLength(2);
});

it("tells by which policy, how far it is, and what to do about a guest that is too busy for it", async () => {
  const reason = { code: "MigrationNotInTime", message: "it changed its memory faster than that could be sent" };
  const left = [{ instanceId: "ins-00000001" as InstanceId, is: "stuck" as const, migrationId: null, reason }];
  isDrained({ policy: "finish", ceilingMs: 5_000, moved: 2, left });
  expect((await cli("host drain host1")).out).toBe(
    "host1 is being drained by the policy finish, paused for 5000 ms at most: 2 of 3 moved, 1 cannot move.\n",
  );
  expect((await cli("host show host1")).out).toMatch(
    /^drain +2 of 3 moved, 1 cannot move; by the policy finish, paused for 5000 ms at most$/m,
  );
  const { code, out } = await cli("host drain host1 --wait");
  expect(code).toBe(1);
  expect(out).toMatch(/cannot move: it changed .* \(MigrationNotInTime\); next: .*host drain HOST --policy POLICY`/);
  expect(JSON.parse((await cli("host show host1 --json")).out)).toMatchObject({
    id: fakeHost,
    drain: { policy: "finish", ceilingMs: 5_000 },
  });
});
