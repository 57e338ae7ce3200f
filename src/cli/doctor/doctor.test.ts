import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import fc from "fast-check";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { bundle, cleaner, secretsOf } from "./bundle.ts";
import type { Finding } from "./finding.ts";
import { examineHome } from "./home.ts";
import { examineLeftovers, examineMemory } from "./machine.ts";
import { examineDatabase } from "./service.ts";
import { tar } from "./tar.ts";

let home: string;
beforeEach(() => void (home = mkdtempSync(join(tmpdir(), "vstation-doctor-"))));
afterEach(() => rmSync(home, { recursive: true }));

const put = (name: string, text: string, mode = 0o600): void => {
  mkdirSync(join(home, name, ".."), { recursive: true });
  writeFileSync(join(home, name), text);
  chmodSync(join(home, name), mode);
};
const levels = (findings: readonly Finding[]): Record<string, string> =>
  Object.fromEntries(findings.map(({ check, level }) => [check, level]));
const credentials = JSON.stringify({ nativeEndpoint: "http://127.0.0.1:1/v1", nativeToken: "operator-token-1" });
const program = { state: "running", pid: 7, since: "2026-01-01T00:00:00Z", restarts: 0, lastEnd: null };

describe("the home", () => {
  it("that is not there is the first thing to mend", () => {
    const { findings } = examineHome(join(home, "nowhere"), () => true);
    expect(findings).toMatchObject([{ check: "home", level: "error" }]);
    expect(findings[0]?.next).toContain("npm start");
  });

  it("is well with a supervisor that lives and programs that run", () => {
    put("credentials.json", credentials);
    const host1 = { ...program, services: { compute: program, libvirtd: program } };
    put("status.json", JSON.stringify({ state: "ready", supervisor: 5, children: { vstation: program, host1 } }));
    const { findings, state } = examineHome(home, (pid) => pid === 5);
    expect(findings.filter(({ level }) => level !== "ok")).toEqual([]);
    expect(Object.keys(levels(findings))).toContain("program host1/compute");
    expect(state.credentials?.nativeToken).toBe("operator-token-1");
  });

  it("tells a dead supervisor, a crash loop, a program that waits, and one that was started again", () => {
    put("credentials.json", credentials);
    const children = {
      vstation: { ...program, state: "crash loop", restarts: 9, lastEnd: "status 1" },
      postgres: { ...program, state: "waiting", pid: null },
      host1: { ...program, restarts: 1, services: { compute: { ...program, state: "crash loop" } } },
    };
    put("status.json", JSON.stringify({ state: "ready", supervisor: 5, children }));
    const { findings } = examineHome(home, () => false);
    expect(levels(findings)).toMatchObject({
      supervisor: "error",
      "program vstation": "error",
      "program postgres": "error",
      "program host1": "warning",
      "program host1/compute": "error",
    });
    expect(findings.every(({ level, next }) => (level === "ok") === (next === null))).toBe(true);
  });

  it("tells credentials that others can read, that are damaged, that are not there", () => {
    put("credentials.json", credentials, 0o644);
    expect(levels(examineHome(home, () => true).findings)["credentials"]).toBe("error");
    put("credentials.json", "{");
    expect(levels(examineHome(home, () => true).findings)["credentials"]).toBe("error");
    put("status.json", '{"state": "strange"}');
    expect(levels(examineHome(home, () => true).findings)["supervisor"]).toBe("error");
  });

  it("never breaks, whatever is in its files", () => {
    fc.assert(
      fc.property(fc.json(), fc.json(), (one, other) => {
        put("credentials.json", one);
        put("status.json", other);
        expect(examineHome(home, () => true).findings.length).toBeGreaterThan(1);
      }),
      { numRuns: 50 },
    );
  });
});

describe("the machine", () => {
  const folders = (): { proc: string; net: string } => ({ proc: join(home, "proc"), net: join(home, "net") });
  const aProcess = (pid: number, lab: string): void => {
    put(`proc/${pid}/environ`, `PATH=/bin\0VSTATION_LAB_HOME=${lab}\0`);
    put(`proc/${pid}/stat`, `${pid} (node) S 1`);
  };
  beforeEach(() => mkdirSync(join(home, "net"), { recursive: true }));

  it("has no leftovers when every lab is kept", () => {
    put("a/lab.json", '{"n": 3}');
    put("b/lab.json", '{"n": 4}');
    put("b/status.json", '{"supervisor": 20}');
    aProcess(10, join(home, "a"));
    aProcess(20, join(home, "b"));
    for (const link of ["vs3u", "vs3h1", "vs4x", "eth0", "vsomething"]) put(`net/${link}`, "");
    expect(examineLeftovers(join(home, "a"), folders())).toMatchObject([{ level: "ok" }]);
  });

  it("tells programs without a supervisor, without a home, and links without a lab", () => {
    put("b/lab.json", '{"n": 4}');
    put("b/status.json", '{"supervisor": 21}');
    aProcess(20, join(home, "b"));
    aProcess(30, join(home, "deleted"));
    for (const link of ["vs4u", "vs9u", "vs9h12"]) put(`net/${link}`, "");
    const findings = examineLeftovers(join(home, "a"), folders());
    expect(findings.map(({ level }) => level)).toEqual(["warning", "warning", "warning"]);
    const nexts = findings.map(({ next }) => next).join("\n");
    expect(nexts).toContain(`npm stop -- --home ${join(home, "b")}`);
    expect(nexts).toContain("kill -9 30");
    expect(nexts).toContain("ip link del vs9h12; ip link del vs9u");
    expect(nexts).not.toContain("vs4u");
  });

  it("warns before memory runs out", () => {
    const withFree = (kb: number): string => {
      put("proc/meminfo", `MemTotal: 8000000 kB\nMemAvailable: ${kb} kB\n`);
      return examineMemory(folders())[0]?.level ?? "";
    };
    expect([withFree(4_000_000), withFree(700_000), withFree(100_000)]).toEqual(["ok", "warning", "error"]);
  });
});

describe("the database", () => {
  const at = (database: string): void => put("vstation.json", JSON.stringify({ database }));
  const listen = async (answer: string): Promise<AsyncDisposable> => {
    const server = createServer((socket) => socket.once("data", () => socket.end(answer)));
    await new Promise<void>((resolve) => server.listen(join(home, ".s.PGSQL.5432"), resolve));
    return { [Symbol.asyncDispose]: () => new Promise((resolve) => server.close(() => resolve())) };
  };
  const url = (): string => `postgresql:///vstation?host=${encodeURIComponent(home)}&user=vstation`;

  it("answers, or does not, or is something else", async () => {
    expect(await examineDatabase(home)).toEqual([]);
    at(url());
    expect(await examineDatabase(home)).toMatchObject([{ level: "error" }]);
    await using server = await listen("N");
    expect(server).toBeDefined();
    expect(await examineDatabase(home)).toMatchObject([{ level: "ok" }]);
    at("postgresql://127.0.0.1:1/x");
    expect(await examineDatabase(home)).toMatchObject([{ level: "error" }]);
  });

  it("is not taken for PostgreSQL when it speaks otherwise", async () => {
    at(url());
    await using server = await listen("HTTP/1.1 400\r\n");
    expect(server).toBeDefined();
    expect(await examineDatabase(home)).toMatchObject([{ level: "error" }]);
  });
});

describe("the bundle", () => {
  it("holds logs and state and no secret, wherever it had got into", async () => {
    const secrets = [
      "operator-token-1",
      "secret-key-of-an-account",
      "join-token-of-host-one-0123456789",
      "pa55word-of-pg",
    ];
    put(
      "credentials.json",
      JSON.stringify({ secretKey: secrets[1], nativeEndpoint: "http://x", nativeToken: secrets[0] }),
    );
    put(
      "vstation.json",
      JSON.stringify({ database: `postgresql://u:${secrets[3]}@h/d`, joinTokens: [{ token: secrets[2] }] }),
    );
    put("hosts/host1/join-token", `${secrets[2]}\n`);
    put("hosts/host1/compute.json", "{}");
    put("hosts/host1/log/compute.log", `joining with ${secrets[2]}\n`);
    put(
      "log/vstation.log",
      `Authorization: Bearer ${secrets[0]}\n-----BEGIN EC PRIVATE KEY-----\nMHcC\n-----END EC PRIVATE KEY-----\nend\n`,
    );
    put("pki/ca.pem", "-----BEGIN PRIVATE KEY-----\nMHcC\n-----END PRIVATE KEY-----");
    expect(secretsOf(home).toSorted()).toEqual(secrets.toSorted());

    const diagnosis = { findings: [], state: { credentials: undefined, status: undefined }, client: undefined };
    const bytes = await bundle(home, diagnosis, new Date("2026-01-02T03:04:05Z"));
    const text = gunzipSync(bytes).toString("latin1");
    for (const secret of secrets) expect(text).not.toContain(secret);
    expect(text).not.toContain("MHcC");
    expect(text).toContain("end\n");
    expect(text).toContain("joining with [secret]");
    expect(text).toContain("vstation-bundle/findings.json");
  });

  it("is an archive that tar reads", () => {
    const entries = [
      { name: "a/one.txt", data: Buffer.from("one\n") },
      { name: "two.bin", data: Buffer.alloc(1024, 7) },
      { name: "empty", data: Buffer.alloc(0) },
    ];
    const file = join(home, "x.tar");
    writeFileSync(file, tar(entries, new Date("2026-01-02T03:04:05Z")));
    const made = spawnSync("tar", ["-xf", file, "-C", home]);
    expect(made.stderr.toString()).toBe("");
    for (const { name, data } of entries) expect(readFileSync(join(home, name))).toEqual(data);
  });

  it("finds secrets by their names, too", () => {
    const clean = cleaner([]);
    expect(clean('{"password": "hunter2", "name": "web"}')).toBe('{"password": "[secret]", "name": "web"}');
    expect(clean("postgres://u:hunter2@host/db")).toBe("postgres://u:[secret]@host/db");
  });
});
