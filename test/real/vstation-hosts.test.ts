/** Hosts that join, lie, fall silent, come back and change; one VStation for all of it. */
import { request } from "node:https";
import { describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
// The library keeps its registry in metadata that only this polyfill provides; it must be loaded first.
import "reflect-metadata";
import * as x509 from "@peculiar/x509";
import { Pki } from "../../src/vstation/agents/pki.ts";
import { SimHost } from "../../src/sim/host.ts";
import { makeHostKeys, simJoin } from "../../src/sim/join.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { inState, list, run, show, stop } from "./support/cloud.ts";
import { vstationForAll } from "./support/vstation-for.ts";
import type { TestVstation } from "./support/vstation.ts";

let vstation: TestVstation;

vstationForAll(async (made) => {
  vstation = made;
  await vstation.start({ hosts: 2 });
});

const ticket = (token: string, name: string) => ({
  server: vstation.server,
  caFingerprint: vstation.caFingerprint,
  token,
  name,
});

const hostOf = (id: string | null | undefined): SimHost => {
  const found = vstation.hosts.find((host) => host.id === id);
  if (found === undefined) throw new Error(`no host ${id}`);
  return found;
};

async function one(): Promise<{ id: InstanceId; host: SimHost; other: SimHost }> {
  const ids = await run(vstation.native);
  const [running] = await inState(vstation, ids, "RUNNING");
  const host = hostOf(running?.hostId);
  const other = vstation.hosts.slice(0, 2).find((each) => each !== host) ?? host;
  return { id: ids[0] as InstanceId, host, other };
}

describe("joining", () => {
  it("works once per token and key, and tells each refusal apart", async () => {
    const keys = await makeHostKeys();
    const first = await simJoin({ ...ticket(vstation.token(10), "host10"), keys });
    const again = await simJoin({ ...ticket(vstation.token(10), "host10"), keys });
    expect(again.hostId).toBe(first.hostId);
    const refusal = (token: string, name: string) => simJoin(ticket(token, name));
    await expect(refusal(vstation.token(10), "host10")).rejects.toMatchObject({ code: "JoinTokenUsed" });
    await expect(refusal(vstation.token(11), "other")).rejects.toMatchObject({ code: "JoinNameMismatch" });
    await expect(refusal(randomBytes(24).toString("hex"), "host11")).rejects.toMatchObject({
      code: "JoinTokenUnknown",
    });
    const hash = createHash("sha256").update(vstation.token(12)).digest("hex");
    await vstation.sql("update join_token set expires_at = now() - interval '1 second' where hash = $1", [hash]);
    await expect(refusal(vstation.token(12), "host12")).rejects.toMatchObject({ code: "JoinTokenExpired" });
    const [row] = await vstation.sql<{ n: number }>("select count(*)::int as n from join_token where hash = $1", [
      hash,
    ]);
    expect(row?.n).toBe(1);
  });

  it("stores no token in the clear", async () => {
    const rows = await vstation.sql("select * from join_token");
    expect(JSON.stringify(rows)).not.toContain(vstation.token(0));
  });

  it("refuses what is no request at all", async () => {
    const status = await new Promise<number | undefined>((resolve, reject) => {
      const sent = request(
        `https://${vstation.server}/join`,
        { method: "POST", rejectUnauthorized: false },
        (answer) => {
          answer.resume();
          resolve(answer.statusCode);
        },
      );
      sent.on("error", reject);
      sent.end("x".repeat(1_000));
    });
    expect(status).toBe(400);
  });
});

describe("a connection", () => {
  const refused = (options: object): Promise<number | undefined> =>
    new Promise((resolve, reject) => {
      const socket = new WebSocket(`wss://${vstation.server}/agent`, { rejectUnauthorized: false, ...options });
      socket.on("unexpected-response", (_request, answer) => {
        socket.terminate();
        resolve(answer.statusCode);
      });
      socket.on("open", () => reject(new Error("it was let in")));
      socket.on("error", () => undefined);
    });

  it("is refused to who names a host of ours by another CA's word", async () => {
    const folder = mkdtempSync(join(tmpdir(), "vstation-foreign-"));
    try {
      const foreign = await Pki.open(folder);
      const keys = await makeHostKeys();
      const csr = await x509.Pkcs10CertificateRequestGenerator.create({
        name: "CN=x",
        keys,
        signingAlgorithm: { name: "ECDSA", hash: "SHA-256" },
      });
      const { request: asked } = await foreign.checkRequest(csr.toString("pem"));
      const { id, options } = vstation.hosts[0] as SimHost;
      // Down to the joining it is what the true host shows; only the signature is another one's.
      const { joining } = Pki.namedIn(new X509Certificate(options.identity.certificate).toLegacyObject());
      const cert = await foreign.signHost(asked, { hostId: id, joining, days: 1, use: "host" });
      const pkcs8 = await crypto.subtle.exportKey("pkcs8", keys.privateKey);
      const key = x509.PemConverter.encode(pkcs8, "PRIVATE KEY");
      expect(await refused({ cert, key })).toBe(403);
      expect(await refused({ cert: `${cert}\n${foreign.caPem}`, key })).toBe(403);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  it("needs a certificate of ours, and the one given last", async () => {
    expect(await refused({})).toBe(403);
    const old = await simJoin(ticket(vstation.token(13), "host13"));
    const hash = createHash("sha256").update(vstation.token(13)).digest("hex");
    await vstation.sql("update join_token set used_by_key = null where hash = $1", [hash]);
    const fresh = await simJoin(ticket(vstation.token(13), "host13"));
    expect(fresh.hostId).toBe(old.hostId);
    expect(await refused({ cert: old.certificate, key: old.key, ca: old.ca })).toBe(403);
  });

  it("ends at a message that the contract does not know", async () => {
    const { options } = vstation.hosts[0] as SimHost;
    const identity = await simJoin(ticket(vstation.token(14), "host14"));
    const { ca, certificate: cert, key } = identity;
    const socket = new WebSocket(`wss://${options.servers[0]}/agent`, { ca, cert, key });
    const closed = new Promise<number>((resolve) => socket.on("close", resolve));
    socket.on("open", () => socket.send('{"type":"hello","surprise":1}'));
    expect(await closed).toBe(1008);
    vstation.errors.splice(0);
  });

  it("is replaced by a newer one of the same host, and only the newer one is heard", async () => {
    const { id, host } = await one();
    const newer = new SimHost({ ...host.options, auto: false });
    await newer.connect();
    // The older process comes back by itself, as newer as any; both go on taking turns until one is ended.
    await host.disconnect();
    await newer.disconnect();
    await host.connect();
    await until("the host is ready", async () => {
      const { hosts } = await vstation.native.call("hostList", {});
      return hosts.find((each) => each.id === host.id)?.state === "ready";
    });
    expect((await show(vstation.native, id)).state).toBe("RUNNING");
    await stop(vstation.native, [id]);
    await inState(vstation, [id], "STOPPED");
  });
});

describe("a host that lies", () => {
  it("is not believed about another host's instance", async () => {
    const { id, other } = await one();
    await vstation.sql("select 1");
    other.send({
      type: "seen",
      seq: 900,
      full: false,
      wantedGeneration: other.wantedGeneration,
      instances: [{ id, epoch: 1, generation: 1, phase: { is: "gone" }, disks: [] }],
      jobs: [],
      migrations: [],
    });
    await until("the refusal in the log", () =>
      vstation.errors.some(({ msg }) => msg.includes("refused what a host said")),
    );
    vstation.errors.splice(0);
    expect(await show(vstation.native, id)).toMatchObject({ state: "RUNNING", attention: null });
    const [row] = await vstation.sql<{ is: string }>("select seen ->> 'is' as is from instance where id = $1", [id]);
    expect(row?.is).toBe("running");
  });

  it("is not believed about an epoch that is over or was never given out", async () => {
    const { id, host } = await one();
    await vstation.sql("update instance set epoch = 5, seen_epoch = 5 where id = $1", [id]);
    for (const epoch of [1, 9]) {
      const instances = [{ id, epoch, generation: 99, phase: { is: "gone" as const }, disks: [] }];
      const { wantedGeneration } = host;
      host.send({ type: "seen", seq: 900 + epoch, full: false, wantedGeneration, instances, jobs: [], migrations: [] });
    }
    await until("the refusal of the future", () =>
      vstation.errors.some(({ msg }) => msg.includes("refused what a host said")),
    );
    vstation.errors.splice(0);
    const [row] = await vstation.sql<{ is: string }>("select seen ->> 'is' as is from instance where id = $1", [id]);
    expect(row?.is).toBe("running");
  });

  it("cannot stop others' reports by one that cannot be written", async () => {
    const { id, host } = await one();
    const message = "a \0 and half a pair \ud800";
    const phase = { is: "failed", incarnation: 1, reason: "start_failed", message, attempts: 1 } as const;
    const instances = [{ id, epoch: 1, generation: 1, phase, disks: [] }];
    host.send({
      type: "seen",
      seq: 950,
      full: false,
      wantedGeneration: host.wantedGeneration,
      instances,
      jobs: [],
      migrations: [],
    });
    const shown = await until("the message", async () => (await show(vstation.native, id)).attention ?? undefined);
    expect(shown).toContain("a \ufffd and half a pair \ufffd");
  });
});

describe("a silent host", () => {
  it("is out of reach, its instances stale; nothing is started elsewhere, and all is well when it is back", async () => {
    const { id, host, other } = await one();
    const before = (await show(vstation.native, id)).epoch;
    await host.disconnect();
    const stale = await until("it is stale", async () => {
      const view = await show(vstation.native, id);
      return view.stale ? view : undefined;
    });
    expect(stale).toMatchObject({ state: "RUNNING", hostId: host.id });
    expect(stale.attention).toMatch(/out of reach/);
    const { hosts } = await vstation.native.call("hostList", {});
    expect(hosts.find((each) => each.id === host.id)?.state).toBe("unreachable");
    // A request is accepted and waits; new instances go elsewhere.
    await stop(vstation.native, [id]);
    const placed = await run(vstation.native);
    const [elsewhere] = await inState(vstation, placed, "RUNNING");
    expect(elsewhere?.hostId).toBe(other.id);
    expect((await show(vstation.native, id)).state).toBe("STOPPING");
    await host.connect();
    const [back] = await inState(vstation, [id], "STOPPED");
    expect(back).toMatchObject({ stale: false, attention: null, epoch: before });
    expect(other.machines.has(id)).toBe(false);
  });

  it("is asked nothing that it cannot answer", async () => {
    const { id, host } = await one();
    const log = await vstation.native.call("instanceConsoleLog", { params: { id }, query: { bytes: 100 } });
    expect(log).toBeDefined();
    await host.disconnect();
    await until("it is stale", async () => (await show(vstation.native, id)).stale);
    const asking = vstation.native.call("instanceConsoleLog", { params: { id }, query: { bytes: 100 } });
    await expect(asking).rejects.toMatchObject({ code: "HostUnreachable" });
    await host.connect();
  });
});

describe("a host that was restarted from an older state", () => {
  it("gets everything anew when it knows a later generation than ours", async () => {
    const { id, host } = await one();
    await vstation.sql("update host set wanted_generation = 1 where id = $1", [host.id]);
    const full = new Promise<boolean>((resolve) => {
      host.onMessage = ({ message }) => {
        if (message.type === "wanted") resolve(message.full && message.instances.some((each) => each.id === id));
      };
    });
    await host.disconnect();
    await host.connect();
    expect(await full).toBe(true);
    expect((await list(vstation.native)).length).toBeGreaterThan(0);
  });
});
