/**
 * What a machine needs to become a host, on the hosts' listener: GET /install, the installer, which is no secret; and GET
 * /programs.tar.gz, everything that runs there (Compute, its modules, its Node, the set-up of packages), for whoever shows a join token
 * that has not expired. The archive is made anew for each: it is asked for once in a machine's life. Few at a time.
 *
 * So a new machine needs no registry, no repository and no copy of ours: a link to VStation and Debian's packages do.
 */
import { spawn } from "node:child_process";
import { createReadStream, existsSync, readFileSync } from "node:fs";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import * as z from "zod";
import type { Log } from "../../lib/log.ts";
import { formatError } from "../../lib/errors.ts";

const root = join(import.meta.dirname, "../../..");
const most = 2;
const lockSchema = z.looseObject({
  packages: z.record(z.string(), z.looseObject({ dev: z.boolean().optional() })),
});

export interface ProgramsContext {
  log: Log;
  /** May whoever shows this token have the programs? */
  mayHave: (token: string) => Promise<boolean>;
}

export class Programs {
  readonly #context: ProgramsContext;
  #serving = 0;

  constructor(context: ProgramsContext) {
    this.#context = context;
  }

  static is(url: string | undefined): boolean {
    return url === "/install" || url === "/programs.tar.gz";
  }

  /** Answers in any case; what goes wrong on the way cuts the connection. */
  async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      if (request.method !== "GET") return end(response, 404);
      if (request.url === "/install") {
        response.writeHead(200, { "content-type": "text/x-shellscript" });
        return await pipeline(createReadStream(join(root, "packaging/host/install.sh")), response);
      }
      const token = /^Bearer ([\w-]{32,128})$/.exec(request.headers.authorization ?? "")?.[1];
      if (token === undefined || !(await this.#context.mayHave(token))) return end(response, 403);
      if (this.#serving >= most) return end(response, 503, { "retry-after": "10" });
      this.#serving++;
      try {
        await this.#send(response);
      } finally {
        this.#serving--;
      }
    } catch (error) {
      this.#context.log.warn({ chain: formatError(error) }, "a machine could not be given its programs");
      response.destroy();
    }
  }

  async #send(response: ServerResponse): Promise<void> {
    const tar = spawn("tar", ["-C", root, "--exclude=*.test.ts", "-I", "gzip -1", "-cf", "-", ...contents()], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const ended = new Promise<void>((resolve, reject) => {
      tar.once("error", reject);
      tar.once("close", (code) => (code === 0 ? resolve() : reject(new Error(`tar ended with status ${code}`))));
    });
    response.writeHead(200, { "content-type": "application/gzip", connection: "close" });
    try {
      // Its end is ours to write: an archive that was cut off must not look whole.
      await Promise.all([pipeline(tar.stdout, response, { end: false }), ended]);
      response.end();
    } finally {
      tar.kill("SIGKILL");
    }
  }
}

/** Relative to the root: what Compute is made of, and the modules that are no development tools. */
function contents(): string[] {
  const lock = lockSchema.parse(JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")));
  const modules = Object.entries(lock.packages)
    .filter(([path, { dev }]) => /^node_modules\/(@[^/]+\/)?[^/]+$/.test(path) && dev !== true)
    .map(([path]) => path)
    // node is its program alone: its package keeps a second copy.
    .filter((path) => path !== "node_modules/node" && existsSync(join(root, path)));
  const ours = ["src/lib", "src/core", "src/api", "src/libvirt", "src/compute", "setup", "packaging"];
  return ["package.json", "LICENSE", ...ours, "node_modules/node/bin/node", ...modules];
}

function end(response: ServerResponse, status: number, headers: Record<string, string> = {}): void {
  response.writeHead(status, { ...headers, "content-length": 0, connection: "close" }).end();
}
