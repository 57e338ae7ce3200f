/** The thinnest way through VStation: a host joins, an instance is asked for, runs, is listed, stopped, started, ended. */
import { describe, expect, it } from "vitest";
import { until } from "../until.ts";
import { areGone, inState, list, reboot, run, show, start, stop, terminate } from "./support/cloud.ts";
import { vstationForEach } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;

vstationForEach((made) => void (vstation = made));

describe("one host, one instance", () => {
  it("goes through its whole life", async () => {
    await vstation.start({ hosts: 1 });
    const [host] = vstation.hosts;
    const { native } = vstation;
    const [id] = await run(native, { name: "web" });
    if (id === undefined || host === undefined) throw new Error("nothing was made");
    const [running] = await inState(vstation, [id], "RUNNING");
    expect(running).toMatchObject({ name: "web", hostId: host.id, incarnation: 1, stale: false, attention: null });
    expect(running?.latestOperation).toMatchObject({ kind: "instance.run", state: "SUCCEEDED", error: null });
    expect(await list(native)).toHaveLength(1);
    // Peers are told beside what is wanted, in their own time.
    await until("its host knows where it is", () => host.peers.get(running?.ip ?? "")?.vtep === "10.9.0.10");
    await until("its host knows the fixed peer", () => host.peers.get("10.200.0.2")?.vtep === "10.9.0.1");

    await stop(native, [id], "soft");
    await inState(vstation, [id], "STOPPED");
    await start(native, [id]);
    const [again] = await inState(vstation, [id], "RUNNING");
    expect(again?.incarnation).toBe(2);
    for (const how of ["hard", "soft"] as const) {
      await reboot(native, [id], how);
      await inState(vstation, [id], "RUNNING");
    }
    expect((await show(native, id)).incarnation).toBe(3);
    expect([...(host.machines.get(id)?.starts.values() ?? [])]).toEqual([1, 1, 1]);

    await terminate(native, [id]);
    await areGone(vstation, [id]);
    await until("its address is free on the host", () => !host.peers.has(running?.ip ?? ""));
    expect(await vstation.sql("select * from address where released_at is null")).toEqual([]);
    expect(vstation.errors).toEqual([]);
  });

  it("ends cleanly when told to, and goes on where it was when started again", async () => {
    await vstation.start({ hosts: 1 });
    const secrets = vstation.credentials;
    const [id] = await run(vstation.native);
    if (id === undefined) throw new Error("nothing was made");
    await inState(vstation, [id], "RUNNING");
    vstation.signal("SIGTERM");
    expect(await vstation.ended()).toBe(0);
    await vstation.start();
    expect(vstation.credentials).toEqual(secrets);
    const [running] = await inState(vstation, [id], "RUNNING");
    expect(running?.incarnation).toBe(1);
    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
  });
});
