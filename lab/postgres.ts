/**
 * The lab's private PostgreSQL: one cluster in the home, reached by a unix socket only.
 *
 * PostgreSQL refuses to run as root, and the home may lie below a folder that only root can enter. So it gets a mount namespace
 * in which data and socket folders appear under /var/lib/postgresql (which the package made and its user can reach).
 * It also gets a pid namespace with the postmaster as PID 1: when it is killed, the kernel ends every backend with it, so no
 * old backend can ever write beside a new postmaster; and an IPC namespace with a private /dev/shm, so that nothing of it
 * stays on the machine. `fsync` is on: durability is the point.
 */
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import pg from "pg";
import { sleep } from "../src/lib/retry.ts";
import type { ChildSpec } from "./child.ts";
import type { Home } from "./home.ts";
import { run } from "./run.ts";

export const database = "vstation";
const inside = "/var/lib/postgresql";
const oldest = 15;

export function postgresUrl(home: Home): string {
  return `postgresql:///${database}?host=${encodeURIComponent(home.postgresSocketDir)}&user=${database}`;
}

/** Makes the folders and tells how to start it; the cluster itself is made by the first start. */
export async function postgresSpec(home: Home): Promise<ChildSpec> {
  const [uid, gid] = await postgresUser();
  for (const dir of [home.postgresDir, home.postgresSocketDir]) {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    chownSync(dir, uid, gid);
    chmodSync(dir, 0o700);
  }
  return {
    name: "postgres",
    command: [
      "unshare",
      "--mount",
      "--propagation",
      "private",
      "--pid",
      "--ipc",
      "--fork",
      "--kill-child=SIGKILL",
      "sh",
      "-eu",
      join(import.meta.dirname, "postgres.sh"),
    ],
    env: {
      PG_BIN: binaries(home),
      PG_HOME: home.postgresDir,
      PG_SOCKETS: home.postgresSocketDir,
      PG_INSIDE: inside,
      PG_DATABASE: database,
    },
    logFile: home.log("postgres"),
    namespaced: true,
    // Fast shutdown: sessions are ended, everything committed is on disk.
    politely: "SIGINT",
    graceMs: 15_000,
  };
}

/** Resolves when the database answers. */
export async function postgresReady(home: Home, signal: AbortSignal): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    const client = new pg.Client({ connectionString: postgresUrl(home), connectionTimeoutMillis: 5000 });
    try {
      await client.connect();
      await client.query("select 1");
      return;
    } catch {
      // Not there yet or still recovering: it says so only by refusing. A crash loop is seen by the supervisor.
      await sleep(50, signal);
    } finally {
      await client.end();
    }
  }
}

async function postgresUser(): Promise<[number, number]> {
  const fields = (await run("getent", ["passwd", "postgres"])).trim().split(":");
  return [Number(fields[2]), Number(fields[3])];
}

/** The newest installed server, or the one that an existing cluster was made by: data files belong to one major version. */
function binaries(home: Home): string {
  const top = "/usr/lib/postgresql";
  const versions = existsSync(top)
    ? readdirSync(top)
        .map(Number)
        .filter((version) => existsSync(`${top}/${version}/bin/postgres`))
        .toSorted((a, b) => b - a)
    : [];
  const made = join(home.postgresDir, "data/PG_VERSION");
  const wanted = existsSync(made) ? Number(readFileSync(made, "utf8")) : versions.find((version) => version >= oldest);
  if (wanted === undefined || !versions.includes(wanted)) {
    throw new Error(
      existsSync(made)
        ? `${home.postgresDir} was made by PostgreSQL ${wanted}, which is not installed: install postgresql-${wanted}, or start with another --home`
        : `no PostgreSQL server of version ${oldest} or newer is installed under ${top}`,
    );
  }
  return `${top}/${wanted}/bin`;
}
