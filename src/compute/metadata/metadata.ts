/**
 * The metadata services of this host: one for each VPC whose router is here. Compute serves them all itself; there is no further
 * process, and while Compute is away a guest that asks finds the port closed and asks again, as its clients do.
 */
import { spawn } from "node:child_process";
import { Server } from "node:net";
import { join } from "node:path";
import { Failure } from "../../lib/errors.ts";
import type { VpcId } from "../../lib/ids.ts";
import { namespaceFile } from "../network/names.ts";
import { Rounds } from "../network/rounds.ts";
import type { Subject } from "./document.ts";
import { MetadataService } from "./service.ts";

export interface RouterPlace {
  readonly vpc: VpcId;
  readonly namespace: string;
  /** Tells it from a later namespace of the same name. */
  readonly inode: number;
}

const deadlineMs = 10_000;

export class Metadata {
  readonly #subjectAt: (vpc: VpcId, address: string) => Subject | undefined;
  readonly #services = new Map<VpcId, { inode: number; service: MetadataService }>();
  #routers: readonly RouterPlace[] = [];
  readonly #rounds = new Rounds(() => this.#bringAbout());

  constructor(subjectAt: (vpc: VpcId, address: string) => Subject | undefined) {
    this.#subjectAt = subjectAt;
  }

  /** Serves in exactly these. */
  ensure(routers: readonly RouterPlace[]): Promise<void> {
    this.#routers = routers;
    return this.#rounds.request();
  }

  async #bringAbout(): Promise<void> {
    const routers = this.#routers;
    const wanted = new Map(routers.map((router) => [router.vpc, router]));
    for (const [vpc, { inode, service }] of this.#services) {
      if (wanted.get(vpc)?.inode === inode) continue;
      service.close();
      this.#services.delete(vpc);
    }
    for (const { vpc, namespace, inode } of routers) {
      if (this.#services.has(vpc)) continue;
      const listener = await listenIn(namespace);
      const service = new MetadataService(listener, (address) => this.#subjectAt(vpc, address));
      this.#services.set(vpc, { inode, service });
    }
  }

  close(): void {
    for (const { service } of this.#services.values()) service.close();
    this.#services.clear();
  }
}

/** The service's port in a namespace. */
function listenIn(namespace: string): Promise<Server> {
  const program = [process.execPath, join(import.meta.dirname, "listen.ts")];
  const child = spawn("nsenter", [`--net=${namespaceFile(namespace)}`, ...program], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    timeout: deadlineMs,
    killSignal: "SIGKILL",
  });
  let said = "";
  child.stderr?.setEncoding("utf8").on("data", (part: string) => (said = (said + part).slice(-500)));
  return new Promise((resolve, reject) => {
    const fail = (cause?: unknown): void =>
      reject(
        new Failure(
          "internal",
          "MetadataNotServed",
          `the metadata port in ${namespace} could not be had: ${said.trim()}`,
          {
            cause,
          },
        ),
      );
    child.on("message", (_, handle) => (handle instanceof Server ? resolve(handle) : fail()));
    child.on("error", fail);
    child.on("close", () => fail());
  });
}
