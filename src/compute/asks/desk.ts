/** Answers VStation's questions; each is answered once and remembered nowhere. */
import { open } from "node:fs/promises";
import type { Ask, Readiness } from "../../api/agent.ts";
import { Failure, unreachable } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import type { Log } from "../../lib/log.ts";
import type { Reply } from "../link/link.ts";
import type { Preflight } from "../migration/preflight.ts";
import { consoleSocket, instanceDirectory, type Paths } from "../paths.ts";
import type { Fleet } from "../vm/fleet.ts";
import { consoleLogs } from "../vm/log-bound.ts";
import { Consoles } from "./consoles.ts";

export interface DeskOptions {
  readonly paths: Paths;
  readonly fleet: Pick<Fleet, "worker">;
  readonly log: Log;
  readonly readiness: () => Promise<Readiness>;
  readonly preflight: Preflight;
}

export class AskDesk {
  readonly #options: DeskOptions;
  readonly consoles: Consoles;

  constructor(options: DeskOptions) {
    this.#options = options;
    this.consoles = new Consoles(options.log);
  }

  async answer(ask: Ask, reply: Reply): Promise<unknown> {
    switch (ask.kind) {
      case "readiness":
        return this.#options.readiness();
      case "console.log":
        return readConsoleLog(instanceDirectory(this.#options.paths, ask.instanceId), ask.instanceId, ask.bytes);
      case "console.open": {
        const { fleet, paths } = this.#options;
        if (fleet.worker(ask.instanceId)?.isUp !== true) {
          throw new Failure("conflict", "InstanceNotRunning", `${ask.instanceId} is not running on this host`);
        }
        await this.consoles.open(ask.instanceId, consoleSocket(paths, ask.instanceId), ask.session, reply);
        return {};
      }
      case "migration.source-check":
        return this.#options.preflight.source(ask.instanceId);
      case "migration.target-check":
        return this.#options.preflight.target(ask.instanceId, ask.sourceHostId, ask.spec);
      case "migration.link-probe":
        return this.#options.preflight.link({ hostId: ask.targetHostId, address: ask.address, port: ask.port });
      case "migration.dirty-samples":
        return this.#options.preflight.dirty(ask.instanceId);
      default:
        return unreachable(ask);
    }
  }
}

/** The end of what the guest wrote to its serial port: of the newest start, and of the one before if that is short. */
export async function readConsoleLog(
  directory: string,
  id: InstanceId,
  bytes: number,
): Promise<{ data: string; truncated: boolean }> {
  const newestFirst = await consoleLogs(directory).catch((cause: unknown) => {
    throw new Failure("not_found", "InstanceNotHere", `${id} is not on this host`, { cause });
  });
  const parts: Buffer[] = [];
  let left = bytes;
  let truncated = false;
  for (const { file } of newestFirst) {
    const { tail, whole } = await readTail(file, left);
    parts.unshift(tail);
    left -= tail.length;
    truncated ||= !whole;
    if (left <= 0) {
      truncated ||= file !== newestFirst.at(-1)?.file;
      break;
    }
  }
  return { data: Buffer.concat(parts).toString("base64"), truncated };
}

async function readTail(file: string, bytes: number): Promise<{ tail: Buffer; whole: boolean }> {
  const handle = await open(file, "r");
  try {
    const { size } = await handle.stat();
    const length = Math.min(size, bytes);
    const buffer = Buffer.alloc(length);
    const { bytesRead } = await handle.read(buffer, 0, length, size - length);
    return { tail: buffer.subarray(0, bytesRead), whole: length === size };
  } finally {
    await handle.close();
  }
}
