/** What runs: the database, VStation, its hosts, and whatever of its instances and operations needs a person. */
import { readFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import type { NativeClient } from "../../api/native/client.ts";
import type { HostWire } from "../../api/native/resources.ts";
import { rawRoutes } from "../../api/native/routes.ts";
import { formatError, isFailure } from "../../lib/errors.ts";
import { within } from "../../lib/retry.ts";
import { listAll, newestOperations } from "../resolve.ts";
import { ok, warning, wrong, type Finding } from "./finding.ts";

const databaseMs = 5000;
const healthMs = 10_000;

/** The database that VStation's configuration in this home names, if there is one: does it answer? */
export async function examineDatabase(home: string): Promise<Finding[]> {
  const file = join(home, "vstation.json");
  let database: unknown;
  try {
    database = (JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>)["database"];
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [];
    throw error;
  }
  if (typeof database !== "string") return [wrong("database", `${file} names none`, "`npm start` writes it anew")];
  const where = addressOf(database);
  const told = "path" in where ? where.path : `${where.host}:${where.port}`;
  try {
    await within(databaseMs, `PostgreSQL at ${told}`, answersAsPostgres(where));
    return [ok("database", `PostgreSQL answers at ${told}`)];
  } catch (error) {
    const next = `see ${join(home, "log/postgres.log")}; VStation goes on by itself when it is back`;
    return [wrong("database", `PostgreSQL does not answer: ${formatError(error)}`, next)];
  }
}

type Address = { path: string } | { host: string; port: number };

/** `postgresql:///db?host=/folder` is a unix socket in that folder, anything else a TCP address. */
function addressOf(url: string): Address {
  const parsed = new URL(url);
  const host = parsed.searchParams.get("host") ?? (parsed.hostname === "" ? "/var/run/postgresql" : parsed.hostname);
  const port = Number(parsed.searchParams.get("port") ?? (parsed.port === "" ? 5432 : parsed.port));
  return host.startsWith("/") ? { path: join(host, `.s.PGSQL.${port}`) } : { host, port };
}

/** Asks for TLS, as every client may: PostgreSQL answers one byte, S or N, and only PostgreSQL does. */
function answersAsPostgres(where: Address): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect(where);
    socket.setTimeout(databaseMs, () => socket.destroy(new Error("no answer")));
    socket.once("error", reject);
    socket.once("connect", () => socket.write(Buffer.from([0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f])));
    socket.once("data", (data) => {
      socket.destroy();
      if (data[0] === 0x53 || data[0] === 0x4e) resolve();
      else reject(new Error("something else than PostgreSQL answers there"));
    });
    socket.once("close", () => reject(new Error("it closed without an answer")));
  });
}

export interface Service {
  findings: Finding[];
  /** Nothing more can be asked of a VStation that does not answer. */
  answers: boolean;
}

export async function examineVStation(client: NativeClient, ownVersion: string, home: string): Promise<Service> {
  const log = join(home, "log/vstation.log");
  try {
    const { version, region, zones } = await client.call("about", {}, { timeoutMs: healthMs });
    const health = await fetch(client.endpoint + rawRoutes.healthz.path, { signal: AbortSignal.timeout(healthMs) });
    if (!health.ok) {
      const next = "its database is away or slow: see the finding on the database, then " + log;
      return { findings: [wrong("vstation", `answers ${health.status} to /healthz`, next)], answers: false };
    }
    const told = ok("vstation", `${version} answers at ${client.endpoint}, region ${region}, zone ${zones.join(", ")}`);
    const older = warning(
      "versions",
      `this command is ${ownVersion}, VStation ${version}`,
      "run both from one release",
    );
    return { findings: version === ownVersion ? [told] : [told, older], answers: true };
  } catch (error) {
    const next = isFailure(error, "unauthenticated")
      ? "credentials.json belongs to another VStation: point --home at the right folder"
      : `start it (\`npm start -- --home ${home}\`), or see ${log}`;
    return { findings: [wrong("vstation", formatError(error), next)], answers: false };
  }
}

export async function examineHosts(client: NativeClient, ownVersion: string): Promise<Finding[]> {
  const hosts = await listAll(client, "host");
  if (hosts.length === 0) {
    return [wrong("hosts", "there is none: nothing can run", "`npm start -- --hosts 3`, or join a machine as a host")];
  }
  return hosts.flatMap((host) => examineHost(host, ownVersion));
}

function examineHost(host: HostWire, ownVersion: string): Finding[] {
  const check = `host ${host.name}`;
  const { versions } = host.inventory;
  const findings: Finding[] = [];
  if (host.state === "unreachable") {
    const message = `out of reach since ${host.seenAt}; its ${host.used.instances} instances go on, unseen`;
    findings.push(wrong(check, message, "see that the machine, its network and Compute on it run"));
  } else {
    const summary = `${host.state}, ${host.readiness.accelerator}, libvirt ${versions.libvirt}, QEMU ${versions.qemu}`;
    findings.push(
      host.state === "ready"
        ? ok(check, summary)
        : wrong(check, summary, "mend what its checks below name as an error"),
    );
  }
  for (const { name, level, message } of host.readiness.checks) {
    if (level === "ok") continue;
    const next = `\`./vstation host show ${host.name} --check\` looks again`;
    findings.push({ check: `${check}: ${name}`, level, message, next });
  }
  if (versions.compute !== ownVersion) {
    const message = `Compute there is ${versions.compute}, this command ${ownVersion}`;
    findings.push(warning(check, message, "run every part from one release"));
  }
  return findings;
}

/** Instances that ask for attention, and operations that are past their deadline and still open. */
export async function examineWork(client: NativeClient, now: number): Promise<Finding[]> {
  const instances = await listAll(client, "instance");
  const findings = instances
    .filter(({ attention }) => attention !== null)
    .map(({ id, name, attention }) =>
      warning(`instance ${name}`, `${id}: ${attention ?? ""}`, `\`./vstation instance show ${id}\``),
    );
  const stale = instances.filter((one) => one.stale).length;
  if (stale > 0) {
    const next = "bring their hosts back; nothing is started elsewhere without proof of their end";
    findings.push(warning("instances", `the state of ${stale} is unknown: their hosts are out of reach`, next));
  }
  findings.push(ok("instances", `${instances.length} in all, ${countOf(instances, "RUNNING")} running`));

  const { total, operations } = await newestOperations(client, { state: ["PENDING", "RUNNING"] }, 500);
  for (const operation of operations.filter(({ deadline }) => Date.parse(deadline) < now)) {
    const message = `${operation.kind} of ${operation.instanceId} is open past its deadline ${operation.deadline}`;
    const next = `\`./vstation operation show ${operation.id}\` tells what it waits for`;
    findings.push(warning(`operation ${operation.id}`, message, next));
  }
  findings.push(ok("operations", `${total} open`));
  return findings;
}

function countOf(instances: readonly { state: string }[], state: string): number {
  return instances.filter((one) => one.state === state).length;
}
