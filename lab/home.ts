/** The folder that holds everything a lab is: where each thing lies, what is remembered between starts, and its one lock. */
import { createHash, randomUUID } from "node:crypto";
import { chownSync, existsSync, mkdirSync, readFileSync, realpathSync, renameSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod";
import { planCount } from "./plan.ts";

/** What is decided once for a home and kept: instances hold addresses that derive from it. */
const memorySchema = z.strictObject({
  n: z
    .int()
    .min(0)
    .max(planCount - 1),
  apiPort: z.int().min(1).max(65535),
  hosts: z.int().min(0),
  nested: z.int().min(0).default(0),
});
export type Memory = z.infer<typeof memorySchema>;

export class Home {
  readonly path: string;

  /** Creates the folder if it is missing. The path is resolved: two names of one folder are one lab. */
  constructor(path: string) {
    // Before anything is made: Node's recursive mkdir never returns from a folder that /proc does not have.
    refuseForbidden(path, resolve(path));
    const made = mkdirSync(resolve(path), { recursive: true, mode: 0o755 });
    this.path = realpathSync(resolve(path));
    refuseForbidden(path, this.path);
    if (made !== undefined) giveToCaller(this.path);
    // sun_path has 108 bytes; the longest socket in a home is PostgreSQL's.
    const socket = join(this.postgresSocketDir, ".s.PGSQL.5432");
    if (Buffer.byteLength(socket) > 100) {
      throw new Error(
        `--home ${this.path} is too long: the socket ${socket} would exceed what the kernel takes; choose a folder whose path has at most ${100 - Buffer.byteLength("/run/pg/.s.PGSQL.5432")} bytes`,
      );
    }
    for (const dir of ["run", "run/life", "log", "hosts", "images", "shared", "pki"])
      mkdirSync(join(this.path, dir), { recursive: true, mode: 0o700 });
    // What tells it from an empty mount point (src/compute/storage/disk-files.ts).
    keep(join(this.sharedDir, "vstation-shared"), () => "");
  }

  get runDir(): string {
    return join(this.path, "run");
  }
  get postgresSocketDir(): string {
    return join(this.path, "run/pg");
  }
  get postgresDir(): string {
    return join(this.path, "pg");
  }
  get imageDir(): string {
    return join(this.path, "images");
  }
  /** What all hosts of the lab mount, as they would from a file server. */
  get sharedDir(): string {
    return join(this.path, "shared");
  }
  get pkiDir(): string {
    return join(this.path, "pki");
  }
  get credentialsFile(): string {
    return join(this.path, "credentials.json");
  }
  get vstationConfigFile(): string {
    return join(this.path, "vstation.json");
  }
  get statusFile(): string {
    return join(this.path, "status.json");
  }
  get lockFile(): string {
    return join(this.path, "run/lock");
  }
  /** Who supervises: pid and start time, for `stop`. */
  get supervisorFile(): string {
    return join(this.path, "run/supervisor.json");
  }
  log(name: string): string {
    return join(this.path, `log/${name}.log`);
  }
  lifeline(name: string): string {
    return join(this.path, `run/life/${name}`);
  }
  hostDir(name: string): string {
    return join(this.path, "hosts", name);
  }

  remembered(): Memory | undefined {
    const file = join(this.path, "lab.json");
    if (!existsSync(file)) return undefined;
    try {
      return memorySchema.parse(JSON.parse(readFileSync(file, "utf8")));
    } catch (error) {
      const why = error instanceof z.ZodError ? z.prettifyError(error) : String(error);
      throw new Error(
        `${file} is damaged (${why}); it holds {"n", "apiPort", "hosts", "nested"} as the start log in log/supervisor.log names them: restore it, or use another --home`,
        { cause: error },
      );
    }
  }
  remember(memory: Memory): void {
    writeWhole(join(this.path, "lab.json"), `${JSON.stringify(memory, undefined, 2)}\n`, 0o644);
  }
}

/** Lines NAME=VALUE that VStation and Compute get in their environment at each start, above the supervisor's own. */
export function settingsFile(home: string): string {
  return join(home, "settings.env");
}

/** Writes a file so that a reader, or a crash, sees the old text or the new one. */
export function writeWhole(file: string, text: string, mode: number): void {
  const temporary = `${file}.${process.pid}.new`;
  writeFileSync(temporary, text, { mode, flush: true });
  renameSync(temporary, file);
}

/** The text of a small file that is made once, at the first need. */
export function keep(file: string, make: () => string): string {
  if (!existsSync(file)) writeWhole(file, make(), 0o600);
  return readFileSync(file, "utf8");
}

/** A UUID that stays the same for the same home and host. */
export function stableUuid(...parts: string[]): string {
  const hex = createHash("sha256").update(parts.join("\0")).digest("hex");
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`;
}

export function newToken(): string {
  return `${randomUUID()}${randomUUID()}`.replaceAll("-", "");
}

/** What sudo makes for somebody belongs to them: the home, and with it the credentials (src/vstation/credentials.ts). */
function giveToCaller(folder: string): void {
  const { SUDO_UID: uid, SUDO_GID: gid } = process.env;
  if (process.getuid?.() === 0 && uid !== undefined && gid !== undefined) chownSync(folder, Number(uid), Number(gid));
}

function refuseForbidden(given: string, path: string): void {
  const forbidden = ["/run", "/proc", "/sys", "/dev"].find((top) => path === top || path.startsWith(`${top}/`));
  if (forbidden === undefined) return;
  throw new Error(
    `--home ${given}: a lab's home cannot lie under ${forbidden}, because each host has its own; choose another folder`,
  );
}
