/** A VStation process under test, with simulated hosts that dial into it, in a temporary directory. */
import { spawn, type ChildProcess } from "node:child_process";
import { createHash, randomBytes, X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import type * as z from "zod";
import type { vstationConfigSchema } from "../../../src/vstation/config.ts";
import type { Credentials } from "../../../src/vstation/credentials.ts";
import { NativeClient } from "../../../src/api/native/client.ts";
import { Failure } from "../../../src/lib/errors.ts";
import { sleep } from "../../../src/lib/retry.ts";
import { SimHost, type SimHostOptions } from "../../../src/sim/host.ts";
import { makeHostKeys, simJoin } from "../../../src/sim/join.ts";
import { freePort } from "../../../lab/free-port.ts";
import type { TestPostgres } from "./postgres.ts";

export const imageId = "img-test0001";
const repository = join(import.meta.dirname, "../../..");

export interface StartOptions {
  /** The crash point at which the process kills itself, once. */
  crashAt?: string;
  hosts?: number;
}

export class TestVstation {
  readonly directory = mkdtempSync(join(tmpdir(), "vstation-test-"));
  readonly postgres: TestPostgres;
  readonly database: string;
  readonly hosts: SimHost[] = [];
  /** The folder that hosts are said to share; read at each start. */
  sharedDir: string | undefined;
  /** Read at each start. */
  imports: z.input<typeof vstationConfigSchema>["imports"] = {};
  /** Where hosts dial in, and for how long they are given certificates; read at each start. */
  agents = { address: "127.0.0.1", certificateDays: 90 };
  /** Log lines at level error and above: an expected one is taken out by the test that expects it. */
  readonly errors: { msg: string }[] = [];
  readonly #tokens: string[];
  /** What replicas share: CA, keys, images. */
  readonly #shared: string;
  readonly #agentPort: number;
  readonly #listenPort: number;
  #process: ChildProcess | undefined;
  #exited: Promise<unknown> = Promise.resolve();
  #closing = false;
  #supervised: Promise<void> = Promise.resolve();

  private constructor(postgres: TestPostgres, database: string, ports: [number, number], other?: TestVstation) {
    this.postgres = postgres;
    this.database = database;
    [this.#agentPort, this.#listenPort] = ports;
    this.#shared = (other ?? this).directory;
    this.#tokens =
      other === undefined ? Array.from({ length: 40 }, () => randomBytes(24).toString("hex")) : other.#tokens;
    if (other === undefined) this.#writeImage();
  }

  /** With a database of its own, or as another replica of one that is there. */
  static async create(postgres: TestPostgres, options: { replicaOf?: TestVstation } = {}): Promise<TestVstation> {
    const ports: [number, number] = [await freePort(), await freePort()];
    const other = options.replicaOf;
    return new TestVstation(postgres, other?.database ?? (await postgres.database()), ports, other);
  }

  get server(): string {
    return `${this.agents.address}:${this.#agentPort}`;
  }

  get caFingerprint(): string {
    const { raw } = new X509Certificate(readFileSync(join(this.#shared, "pki/ca.crt")));
    return createHash("sha256").update(raw).digest("hex");
  }

  get pid(): number {
    return this.#process?.pid ?? 0;
  }

  token(index: number): string {
    return this.#tokens[index] ?? "";
  }

  config(): z.input<typeof vstationConfigSchema> {
    return {
      region: "ap-test",
      zone: "ap-test-1",
      database: this.database,
      listen: { address: "127.0.0.1", port: this.#listenPort },
      agents: { ...this.agents, port: this.#agentPort, names: [this.agents.address] },
      pkiDir: join(this.#shared, "pki"),
      imageDir: join(this.#shared, "images"),
      systemDiskGiB: 1,
      ...(this.sharedDir === undefined ? {} : { sharedDir: this.sharedDir }),
      imports: this.imports,
      credentialsFile: join(this.directory, "credentials.json"),
      subnet: {
        id: "subnet-test0001",
        vpcId: "vpc-test0001",
        cidr: "10.200.0.0/16",
        gateway: "10.200.0.1",
        gatewayMac: "02:76:73:00:00:01",
        vni: 4242,
        mtu: 1500,
        dns: ["10.200.0.1"],
        reserved: 10,
        fixedPeers: [{ ip: "10.200.0.2", mac: "02:76:73:00:00:02", vtep: "10.9.0.1" }],
      },
      elastic: { cidr: "10.9.1.0/28" },
      joinTokens: this.#tokens.map((token, index) => ({ token, name: `host${index}`, lifetimeSeconds: 3600 })),
    };
  }

  /** Starts the process; resolves when it is ready, or when it has ended if it was to crash on the way. */
  async start(options: StartOptions = {}): Promise<void> {
    const file = join(this.directory, "config.json");
    writeFileSync(file, JSON.stringify(this.config()));
    const crash =
      options.crashAt === undefined
        ? {}
        : { VSTATION_CRASH_AT: options.crashAt, VSTATION_CRASH_ONCE: join(this.directory, "crashed") };
    const child = spawn(process.execPath, [join(repository, "src/vstation/main.ts"), "--config", file], {
      stdio: ["ignore", "ignore", "pipe"],
      env: { ...process.env, VSTATION_LOG: process.env["VSTATION_LOG"] ?? "info", ...crash },
    });
    this.#process = child;
    this.#exited = new Promise((resolve) => child.once("exit", resolve));
    const ready = Promise.withResolvers<void>();
    let tail = "";
    createInterface({ input: child.stderr }).on("line", (line) => {
      if (process.env["VSTATION_TEST_LOG"] !== undefined) process.stderr.write(`${line}\n`);
      tail = `${tail}${line}\n`.slice(-4_000);
      const entry = parse(line);
      if (entry === undefined) return;
      if (entry.level >= 50) this.errors.push(entry);
      if (entry.msg === "VStation is ready") ready.resolve();
    });
    void this.#exited.then(() => ready.reject(new Error(`VStation ended before it was ready:\n${tail}`)));
    await ready.promise.catch((error: unknown) => {
      if (options.crashAt === undefined || !this.crashed) throw error;
    });
    await this.addHosts(options.hosts ?? 0);
  }

  /** Starts it again whenever it has died, as a service manager would, until {@link close}. */
  async supervise(options: StartOptions): Promise<void> {
    const again = async (): Promise<void> => {
      for (;;) {
        await this.#exited;
        if (this.#closing) return;
        await this.start(options).catch((error: unknown) => {
          // Killed before it was ready: one more death, by whoever kills at any moment.
          if (!this.#closing && this.#process?.signalCode === null) throw error;
        });
      }
    };
    await this.start(options);
    this.#supervised = again();
  }

  /** True once the process has ended itself at its crash point. */
  get crashed(): boolean {
    return existsSync(join(this.directory, "crashed"));
  }

  get credentials(): Credentials {
    return JSON.parse(readFileSync(join(this.directory, "credentials.json"), "utf8")) as Credentials;
  }

  get native(): NativeClient {
    const { nativeEndpoint, nativeToken } = this.credentials;
    return new NativeClient({ endpoint: nativeEndpoint, token: nativeToken });
  }

  /** What a monitoring system would read. */
  async metrics(): Promise<string> {
    const { nativeEndpoint, nativeToken } = this.credentials;
    const answer = await fetch(`${nativeEndpoint}/metrics`, { headers: { authorization: `Bearer ${nativeToken}` } });
    return answer.text();
  }

  async addHosts(count: number, options: Partial<SimHostOptions> = {}): Promise<SimHost[]> {
    const added: SimHost[] = [];
    for (let i = 0; i < count; i++) added.push(await this.addHost(options));
    return added;
  }

  async addHost(options: Partial<SimHostOptions> = {}): Promise<SimHost> {
    const host = await this.joinHost(options);
    await host.connect();
    return host;
  }

  /** It has its certificate, and has not dialled in yet. */
  async joinHost(options: Partial<SimHostOptions> = {}): Promise<SimHost> {
    const index = this.hosts.length;
    const name = `host${index}`;
    const ticket = { server: this.server, caFingerprint: this.caFingerprint, token: this.token(index), name };
    const keys = await makeHostKeys();
    const host = new SimHost({
      servers: [this.server],
      // An answer that was lost is asked for again with the same key.
      identity: await persistently(() => simJoin({ ...ticket, keys })),
      name,
      underlayAddress: `10.9.0.${10 + index}`,
      neighbour: (id) => this.hosts.find((one) => one.id === id),
      shape: { cores: 16, memoryMiB: 32_768, diskGiB: 1_000 },
      ...options,
    });
    this.hosts.push(host);
    return host;
  }

  /** Throws what it has logged as an error and no test has taken out. */
  expectNoErrors(): void {
    if (this.errors.length > 0) throw new Error(`errors in the log: ${JSON.stringify(this.errors)}`);
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    this.#process?.kill("SIGKILL");
    await this.#exited;
  }

  signal(name: NodeJS.Signals): void {
    this.#process?.kill(name);
  }

  /** Resolves with the exit code when the process has ended (a signal counts as -1). */
  async ended(): Promise<number> {
    await this.#exited;
    return this.#process?.exitCode ?? -1;
  }

  sql<T extends Record<string, unknown>>(text: string, values: unknown[] = []): Promise<T[]> {
    return this.postgres.query<T>(this.database, text, values);
  }

  async close(): Promise<void> {
    this.#closing = true;
    for (const host of this.hosts) await host.close();
    await this.kill();
    await this.#supervised;
    rmSync(this.directory, { recursive: true, force: true });
  }

  #writeImage(): void {
    const folder = join(this.directory, "images", imageId);
    mkdirSync(folder, { recursive: true });
    const manifest = {
      id: imageId,
      name: "test",
      format: 1,
      architecture: "x86_64",
      boot: { kind: "disk", firmware: "bios" },
      disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: 1 },
      minMemoryMiB: 64,
      osName: "none",
      platform: "none",
      sha256: {},
    };
    writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
  }
}

/** Does it again while the other side, or the hosts that it needs, are away, as any careful client would; another refusal is final. */
export async function persistently<T>(work: () => Promise<T>, ms = 60_000): Promise<T> {
  const end = performance.now() + ms;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      const passes = ["unavailable", "timeout", "internal"];
      // It says so, and to ask again: a host is missed for a moment on a machine that is busy enough.
      const isForHosts = error instanceof Failure && Number(error.detail["away"]) > 0;
      const refused = error instanceof Failure && !passes.includes(error.kind) && !isForHosts;
      if (refused || performance.now() > end) throw error;
      await sleep(50);
    }
  }
}

function parse(line: string): { level: number; msg: string } | undefined {
  try {
    return JSON.parse(line) as { level: number; msg: string };
  } catch {
    return undefined;
  }
}
