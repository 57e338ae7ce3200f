/**
 * The metadata services of this host: one for each VPC whose router is here. Compute serves them all itself; there is no further
 * process, and while Compute is away a guest that asks finds the port closed and asks again, as its clients do.
 *
 * A port is had by a process of its own in the VPC's namespace (listen.ts), and that is waited for as long as it lives: on a host
 * that is busy enough a program takes minutes to begin, and one that is ended for that would be begun again for ever. What can race
 * with it is its router's end, which ends it too.
 */
import { spawn } from "node:child_process";
import { Server } from "node:net";
import { join } from "node:path";
import { Failure } from "../../lib/errors.ts";
import type { VpcId } from "../../lib/ids.ts";
import { Limit } from "../limit.ts";
import { namespaceFile } from "../network/names.ts";
import type { Subject } from "./document.ts";
import { MetadataService } from "./service.ts";

export interface RouterPlace {
  readonly vpc: VpcId;
  readonly namespace: string;
  /** Tells it from a later namespace of the same name. */
  readonly inode: number;
}

/** Processes that have a port made at once: few enough for a Compute that begins among a hundred VPCs, and no slow one holds all up. */
const atOnce = 4;

/** Guests of one VPC are served here, or will be once its port is there. */
interface Served {
  readonly inode: number;
  readonly ending: AbortController;
}

export class Metadata {
  readonly #subjectAt: (vpc: VpcId, address: string) => Subject | undefined;
  readonly #served = new Map<VpcId, Served>();
  readonly #ports = new Limit(atOnce);

  constructor(subjectAt: (vpc: VpcId, address: string) => Subject | undefined) {
    this.#subjectAt = subjectAt;
  }

  /** Serves in exactly these; resolves when it does in those that are new, and throws when one of their ports could not be had. */
  async ensure(routers: readonly RouterPlace[]): Promise<void> {
    const wanted = new Map(routers.map(({ vpc, inode }) => [vpc, inode]));
    for (const [vpc, { inode }] of this.#served) if (wanted.get(vpc) !== inode) this.#end(vpc);
    await Promise.all(routers.filter(({ vpc }) => !this.#served.has(vpc)).map((router) => this.#serve(router)));
  }

  close(): void {
    for (const vpc of this.#served.keys()) this.#end(vpc);
  }

  #end(vpc: VpcId): void {
    this.#served.get(vpc)?.ending.abort();
    this.#served.delete(vpc);
  }

  async #serve({ vpc, namespace, inode }: RouterPlace): Promise<void> {
    const ending = new AbortController();
    this.#served.set(vpc, { inode, ending });
    const { signal } = ending;
    try {
      const listener = await this.#ports.run(() => listenIn(namespace, signal));
      const service = new MetadataService(listener, (address) => this.#subjectAt(vpc, address));
      // An end that came while the port was on its way is told to nobody any more.
      if (signal.aborted) service.close();
      else signal.addEventListener("abort", () => service.close());
    } catch (error) {
      if (signal.aborted) return;
      this.#end(vpc);
      throw error;
    }
  }
}

/** The service's port in a namespace, once its process has made it; `signal` ends that. */
async function listenIn(namespace: string, signal: AbortSignal): Promise<Server> {
  signal.throwIfAborted();
  const program = [process.execPath, join(import.meta.dirname, "listen.ts")];
  const child = spawn("nsenter", [`--net=${namespaceFile(namespace)}`, ...program], {
    stdio: ["ignore", "ignore", "pipe", "ipc"],
    signal,
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
