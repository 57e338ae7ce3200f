/**
 * A private PostgreSQL for one test file: its own cluster in a temporary directory, on a unix socket only, that may be killed and
 * started again, with a fresh database per test. fsync stays on: what a test claims about a crash must be true of one.
 */
import { execFileSync, spawn, spawnSync, type ChildProcess } from "node:child_process";
import { chownSync, closeSync, existsSync, mkdtempSync, openSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import pg from "pg";
import { childrenOf, isAlive, statOf } from "../../../lab/processes.ts";
import { until } from "../../until.ts";

const bin = join(
  "/usr/lib/postgresql",
  readdirSync("/usr/lib/postgresql").toSorted((a, b) => Number(b) - Number(a))[0] ?? "15",
  "bin",
);

/** PostgreSQL refuses root; as root it runs as its package's user. */
function owner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string): number => Number(execFileSync("id", [flag, "postgres"]).toString());
  return { uid: id("-u"), gid: id("-g") };
}

export class TestPostgres {
  readonly directory: string;
  readonly #owner = owner();
  #process: ChildProcess | undefined;
  #databases = 0;

  constructor() {
    this.directory = mkdtempSync(join(tmpdir(), "vstation-pg-"));
    if (this.#owner.uid !== undefined) chownSync(this.directory, this.#owner.uid, this.#owner.gid ?? 0);
    execFileSync(
      join(bin, "initdb"),
      ["-D", this.#data, "-A", "trust", "-U", "postgres", "--no-locale", "-E", "UTF8"],
      {
        ...this.#owner,
        cwd: "/",
        stdio: "ignore",
      },
    );
  }

  get #data(): string {
    return join(this.directory, "data");
  }

  url(database: string): string {
    return `postgresql:///${database}?host=${encodeURIComponent(this.directory)}&user=postgres`;
  }

  async start(): Promise<void> {
    const settings = [
      // In its folder, where a killed one leaves nothing behind in /dev/shm.
      "dynamic_shared_memory_type=mmap",
      "listen_addresses=",
      `unix_socket_directories=${this.directory}`,
      "max_connections=200",
    ];
    const args = ["-D", this.#data, ...settings.flatMap((setting) => ["-c", setting])];
    const log = join(this.directory, "log");
    const output = openSync(log, "a");
    const child = spawn(join(bin, "postgres"), args, { ...this.#owner, cwd: "/", stdio: ["ignore", output, output] });
    closeSync(output);
    this.#process = child;
    const look = async (): Promise<"answers" | "ended"> => {
      if (!isAlive(child.pid as number)) return "ended";
      await this.query("postgres", "select 1");
      return "answers";
    };
    // One that was killed first syncs its whole folder and recovers: with a busy disk many seconds.
    const seen = await until("PostgreSQL answers", look, 60_000);
    if (seen === "ended") throw new Error(`PostgreSQL ended by itself: ${readFileSync(log, "utf8").slice(-2_000)}`);
  }

  /**
   * SIGKILL of the postmaster and everything below it, as a power cut would do. Stopped first, it makes no backend behind our
   * back; and all are waited for, since a new postmaster refuses to begin while an old backend still holds the shared memory.
   */
  async kill(): Promise<void> {
    const child = this.#process;
    if (child?.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGSTOP");
    await until("the postmaster stands still", () => statOf(child.pid as number)?.state === "T");
    const below = childrenOf(child.pid);
    child.kill("SIGKILL");
    for (const pid of below) {
      try {
        process.kill(pid, "SIGKILL");
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
      }
    }
    await gone;
    await until("every backend is gone", () => !below.some((pid) => isAlive(pid)));
    this.#process = undefined;
  }

  /** An empty database of its own. */
  async database(): Promise<string> {
    const name = `test${++this.#databases}`;
    await this.query("postgres", `create database ${name}`);
    return this.url(name);
  }

  async query<T extends pg.QueryResultRow>(database: string, text: string, values: unknown[] = []): Promise<T[]> {
    const client = new pg.Client(database.includes("://") ? database : this.url(database));
    // A server that goes away while we ask is told by the query itself.
    client.on("error", () => undefined);
    await client.connect();
    try {
      return (await client.query<T>(text, values)).rows;
    } finally {
      await client.end();
    }
  }

  async close(): Promise<void> {
    await this.kill();
    this.#freeSharedMemory();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /** A killed postmaster leaves its lock file and a System V segment, which only a successor in the same folder would free. */
  #freeSharedMemory(): void {
    const file = join(this.#data, "postmaster.pid");
    if (!existsSync(file)) return;
    // Key and id, in the seventh line; not there yet if it was killed in its first moments.
    const id = /^ *\d+ +(\d+) *$/.exec(readFileSync(file, "utf8").split("\n")[6] ?? "")?.[1];
    // That fails where it was killed between two, after a crash of its own: there is none then.
    if (id !== undefined) spawnSync("ipcrm", ["-m", id]);
  }
}
