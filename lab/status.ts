/** `status.json` in the home: what runs, since when, how often it was started again, how it last ended. */
import { readdirSync, readFileSync, watch, type FSWatcher } from "node:fs";
import { join } from "node:path";
import { crashLoopAfter, type ChildStatus } from "./child.ts";
import { writeWhole, type Home } from "./home.ts";

export type LabState = "starting" | "ready" | "stopping" | "off";

export interface LabStatus {
  readonly state: LabState;
  readonly supervisor: number | null;
  readonly endpoint: string | null;
  readonly credentialsFile: string;
  readonly children: Readonly<Record<string, ChildStatus>>;
}

export function writeStatus(home: Home, status: LabStatus): void {
  writeWhole(home.statusFile, `${JSON.stringify(status, undefined, 2)}\n`, 0o644);
}

/** For a lab that was powered off without its supervisor. */
export function writeStatusOff(home: Home): void {
  writeStatus(home, {
    state: "off",
    supervisor: null,
    endpoint: null,
    credentialsFile: home.credentialsFile,
    children: {},
  });
}

/**
 * A host's services in its own words (see host/services.sh): `pid since restarts last-end short-lives`; the pid is the host's own
 * number. A host that boots takes its old words back, at any moment of this reading.
 */
export function servicesOf(hostDir: string): Record<string, ChildStatus> {
  const dir = join(hostDir, "status");
  const services: Record<string, ChildStatus> = {};
  for (const name of unlessGone(() => readdirSync(dir)) ?? []) {
    if (name.startsWith(".")) continue;
    const words = unlessGone(() => readFileSync(join(dir, name), "utf8"));
    if (words === undefined) continue;
    const [pid, since, restarts, lastEnd, shortLives] = words.trim().split(" ");
    services[name] = {
      state: pid !== "-" ? "running" : Number(shortLives) >= crashLoopAfter ? "crash loop" : "waiting",
      pid: pid === "-" ? null : Number(pid),
      since: new Date(Number(since) * 1000).toISOString(),
      restarts: Number(restarts),
      lastEnd: lastEnd === undefined || lastEnd === "-" ? null : lastEnd.replace("-", " "),
    };
  }
  return services;
}

function unlessGone<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

export function watchServices(hostDir: string, changed: () => void): FSWatcher {
  return watch(join(hostDir, "status"), { persistent: false }, changed);
}
