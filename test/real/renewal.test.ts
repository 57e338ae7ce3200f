/**
 * A host renews its certificate by itself: with certificates that last a minute, by the real clock, a real Compute stays a host for
 * many of them; it dies at each step of a renewal, VStation is away when one is due, and a host that was taken out gets none.
 */
import { X509Certificate } from "node:crypto";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { signingRequest } from "../../src/compute/link/csr.ts";
import type { HostId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { ComputeBed } from "./support/compute-bed.ts";
import { ComputeHost, TestUnderlay } from "./support/compute-host.ts";
import { TestPostgres } from "./support/postgres.ts";
import { TestVstation } from "./support/vstation.ts";

const patienceMs = 90_000;
/** When one is due, a third of this is left for what may be slow on a busy machine. */
const seconds = 60;
const postgres = new TestPostgres();
let underlay: TestUnderlay;
let vstation: TestVstation;
let host: ComputeHost;

beforeAll(async () => {
  await postgres.start();
  underlay = new TestUnderlay();
  vstation = await TestVstation.create(postgres);
  vstation.agents = { address: underlay.address, certificateDays: seconds / 86_400 };
  await vstation.start();
  const token = await tokenFor("h1");
  const { port, caFingerprint } = {
    port: Number(vstation.server.split(":")[1]),
    caFingerprint: vstation.caFingerprint,
  };
  host = await ComputeHost.start({ underlay, number: 1, agents: { port, caFingerprint, token } });
});
afterAll(async () => {
  await host.stop();
  await vstation.close();
  await postgres.close();
  underlay.remove();
});

interface Held {
  hostId: HostId;
  certificate: string;
  ca: string;
}

const identityFile = () => join(host.stateDir, "identity/host.json");
const held = (): Held | undefined =>
  existsSync(identityFile()) ? (JSON.parse(readFileSync(identityFile(), "utf8")) as Held) : undefined;
const key = (): string => readFileSync(join(host.stateDir, "identity/host.key"), "utf8");
const endOf = (certificate: string): number => new Date(new X509Certificate(certificate).validTo).getTime();

async function tokenFor(name: string, again = false): Promise<string> {
  return (await vstation.native.call("hostInvite", { request: { name, again } })).token;
}

async function isReady(): Promise<boolean> {
  const { hosts } = await vstation.native.call("hostList", { query: {} });
  return hosts.some(
    (one) => one.name === "h1" && one.state === "ready" && Date.now() - Date.parse(one.seenAt) < 20_000,
  );
}

/** Until the certificate on the disk is another one. */
async function renewed(from: string): Promise<string> {
  await until("another certificate", () => held()?.certificate !== from, patienceMs);
  return held()?.certificate ?? "";
}

test("a host's certificate is another one before it ends, time and again, under the same key, and what is read is whole", async () => {
  const supervised = host.superviseCompute();
  try {
    await until("the host to join", () => held() !== undefined, patienceMs);
    await until("the host to be ready", isReady, patienceMs);
    const [first, firstKey] = [held()?.certificate ?? "", key()];
    expect(endOf(first)).toBeLessThan(Date.now() + seconds * 1000);
    const second = await renewed(first);
    expect(Date.now()).toBeLessThan(endOf(first));
    const third = await renewed(second);
    expect(Date.now()).toBeLessThan(endOf(second));
    expect(key()).toBe(firstKey);
    // With the first one long gone, a new connection is made with what is there now.
    await until("the first one to end", () => Date.now() > endOf(first), patienceMs);
    await host.killCompute();
    await until("the host to connect again", () => countOf(/connected to VStation/g) >= 2, patienceMs);
    await until("the host to be ready", isReady, patienceMs);
    expect(new X509Certificate(third).subject).toBe(new X509Certificate(first).subject);
    expect(new X509Certificate(third).serialNumber).not.toBe(new X509Certificate(first).serialNumber);
  } finally {
    await supervised.stop();
  }
});

const countOf = (what: RegExp): number => [...host.computeLog().matchAll(what)].length;

test.each(["link.renew.answered", "link.renew.kept"])(
  "dies at %s, and is a host with another certificate soon after",
  async (name) => {
    const marker = join(host.dir, `died-${name}`);
    const before = held()?.certificate ?? "";
    const supervised = host.superviseCompute({ VSTATION_CRASH_AT: name, VSTATION_CRASH_ONCE: marker });
    try {
      await until(`${name} to be passed`, () => existsSync(marker), patienceMs);
      const found = held()?.certificate ?? "";
      await renewed(name === "link.renew.answered" ? before : found);
      await until("the host to be ready", isReady, patienceMs);
    } finally {
      await supervised.stop();
    }
    expect(endOf(held()?.certificate ?? "")).toBeGreaterThan(Date.now());
  },
);

test("one whose certificate ended while it was off joins by a new token as the same host, and not by the old one", async () => {
  const { hostId, certificate } = held() ?? { hostId: "", certificate: "" };
  await until("its certificate to end", () => Date.now() > endOf(certificate), patienceMs);
  // Within its hour a token is good again for the key that used it.
  await vstation.sql("update join_token set expires_at = now()");
  const supervised = host.superviseCompute();
  try {
    const refusals = (): number => countOf(/refused the connection with 403/g);
    await until("it to be refused", () => refusals() > 0, patienceMs);
    writeFileSync(join(host.dir, "token"), await tokenFor("h1", true));
    await host.killCompute();
    await until("the host to be ready", isReady, patienceMs);
    expect(held()?.hostId).toBe(hostId);
  } finally {
    await supervised.stop();
  }
});

test("VStation is away when it is due: it is renewed when VStation is back, before its end", async () => {
  const supervised = host.superviseCompute();
  try {
    await until("the host to be ready", isReady, patienceMs);
    const before = held()?.certificate ?? "";
    const failures = (): number => countOf(/could not be renewed yet/g);
    const failed = failures();
    await vstation.kill();
    await until("a try that fails", () => failures() > failed, patienceMs);
    await vstation.start();
    await renewed(before);
    expect(Date.now()).toBeLessThan(endOf(before));
    await until("the host to be ready", isReady, patienceMs);
  } finally {
    await supervised.stop();
  }
});

test("a host that was taken out gets none, nor does who shows no certificate of ours, or no request", async () => {
  const mine = held();
  if (mine === undefined) throw new Error("there is no identity");
  const csr = signingRequest("h1", key());
  const tls = { ca: mine.ca, cert: mine.certificate, key: key() };
  expect(await renew(tls, { csr })).toBe(200);
  expect(await renew(tls, { csr: "no request" })).toBe(400);
  expect(await renew({ ca: mine.ca }, { csr })).toBe(403);
  await vstation.native.call("hostRemove", { params: { id: mine.hostId }, query: { dead: "true" } });
  expect(await renew(tls, { csr })).toBe(403);
});

function renew(tls: { ca: string; cert?: string; key?: string }, body: unknown): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const sent = request(`https://${vstation.server}/renew`, { method: "POST", agent: false, ...tls }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    sent.on("error", reject);
    sent.end(JSON.stringify(body));
  });
}

test("one that nobody renews is told of, long before its end", async () => {
  // Both stand on the one cable that a test has.
  await host.stop();
  const bed = await ComputeBed.begin();
  try {
    bed.vstation.certificateMs = 100_000;
    const { host: lonely, session } = await bed.host();
    const supervised = lonely.superviseCompute();
    await until("the warning", () => session.check("certificate") === "warning", patienceMs);
    expect(session.check("certificate")).toBe("warning");
    await supervised.stop();
  } finally {
    await bed.end();
  }
});
