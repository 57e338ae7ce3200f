/** Builds the yardstick (yardstick.c) and talks to it wherever it runs: every agent dials in, says its name, and is asked line by line. */
import { createServer as createHttp, type Server as HttpServer } from "node:http";
import { createServer, type AddressInfo, type Server, type Socket } from "node:net";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface, type Interface } from "node:readline";
import * as z from "zod";
import { run } from "../../lab/run.ts";

const source = join(import.meta.dirname, "yardstick.c");
const answerMs = 60_000;
const figures = z.record(z.string(), z.number());
export type Figures = z.infer<typeof figures>;

export async function buildYardstick(file: string): Promise<void> {
  await run("gcc", ["-std=gnu11", "-O2", "-static", "-s", "-pthread", "-o", file, source]);
}

export class Agent {
  readonly name: string;
  readonly #socket: Socket;
  readonly #lines: AsyncIterator<string>;

  constructor(name: string, socket: Socket, lines: AsyncIterator<string>) {
    this.name = name;
    this.#socket = socket;
    this.#lines = lines;
  }

  async ask(line: string): Promise<Figures> {
    this.#socket.write(`${line}\n`);
    const late = setTimeout(() => this.#socket.destroy(), answerMs);
    try {
      const { value, done } = await this.#lines.next();
      if (done === true) throw new Error(`${this.name} did not answer "${line}"`);
      const said: unknown = JSON.parse(value);
      const found = figures.safeParse(said);
      if (!found.success) throw new Error(`${this.name} could not measure "${line}": ${value}`);
      return found.data;
    } finally {
      clearTimeout(late);
    }
  }
}

/** Where agents dial in, and where a guest fetches the program. */
export class Yard {
  readonly #server: Server;
  readonly #http: HttpServer;
  readonly #sockets = new Set<Socket>();
  readonly #agents = new Map<string, Agent>();
  #came = Promise.withResolvers<void>();
  readonly address: string;

  private constructor(address: string, program: Buffer) {
    this.address = address;
    this.#http = createHttp((_request, response) => response.end(program));
    this.#server = createServer((socket) => this.#greet(socket));
  }

  static async open(address: string, program: string): Promise<Yard> {
    const yard = new Yard(address, readFileSync(program));
    await Promise.all([yard.#server, yard.#http].map((each) => listening(each, address)));
    return yard;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }
  get programUrl(): string {
    return `http://${this.address}:${(this.#http.address() as AddressInfo).port}/yardstick`;
  }

  async agent(name: string, patienceMs: number): Promise<Agent> {
    const end = performance.now() + patienceMs;
    for (;;) {
      const found = this.#agents.get(name);
      if (found !== undefined) return found;
      const left = end - performance.now();
      if (left <= 0) throw new Error(`${name} did not come within ${patienceMs / 1000} s`);
      let timer: NodeJS.Timeout | undefined;
      await Promise.race([this.#came.promise, new Promise((resolve) => (timer = setTimeout(resolve, left)))]);
      clearTimeout(timer);
    }
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#http.closeAllConnections();
    await Promise.all([this.#server, this.#http].map((each) => new Promise((resolve) => each.close(resolve))));
  }

  #greet(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    const lines: Interface = createInterface({ input: socket });
    const iterator = lines[Symbol.asyncIterator]();
    void this.#named(socket, iterator);
  }

  async #named(socket: Socket, lines: AsyncIterator<string>): Promise<void> {
    const { value: name, done } = await lines.next();
    if (done === true) return;
    this.#agents.set(name, new Agent(name, socket, lines));
    this.#came.resolve();
    this.#came = Promise.withResolvers();
  }
}

function listening(server: Server | HttpServer, address: string): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, address, resolve);
  });
}
