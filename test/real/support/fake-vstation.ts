/**
 * The other end of Compute's connection, as a test holds it: a CA, the join route, and one WebSocket per host that speaks the contract.
 * It decides nothing; the test says what is wanted and looks at what was seen.
 */
import { randomBytes, type webcrypto } from "node:crypto";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import type { TLSSocket } from "node:tls";
// oxlint-disable-next-line import/no-unassigned-import -- it changes a global, before the next import reads it
import "./reflect.ts";
import * as x509 from "@peculiar/x509";
import { WebSocketServer, type WebSocket } from "ws";
import {
  agentProtocol,
  fromComputeSchema,
  joinRequestSchema,
  renewRequestSchema,
  type Ask,
  type FromCompute,
  type Peer,
  type SeenInstance,
  type SeenPhase,
  type ToCompute,
  type WantedInstance,
  type WantedMigration,
} from "../../../src/api/agent.ts";
import type { CpuBaseline } from "../../../src/core/machine.ts";
import type { MigrationTransport } from "../../../src/core/migration/halves.ts";
import type { SeenMigration } from "../../../src/api/agent-migration.ts";
import type { JobSpec, JobState, WantedJob } from "../../../src/api/agent-storage.ts";
import { newId, type HostId, type InstanceId, type JobId, type MigrationId } from "../../../src/lib/ids.ts";
import { until } from "../../until.ts";

const algorithm = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const validity = { notBefore: new Date(Date.now() - 3_600_000), notAfter: new Date(Date.now() + 86_400_000) };

/** What a host has said, and what it is told. */
export class FakeHostSession {
  readonly hostId: HostId = newId("host");
  socket: WebSocket | null = null;
  hello: Extract<FromCompute, { type: "hello" }> | null = null;
  hellos = 0;
  readonly seen = new Map<InstanceId, SeenInstance>();
  /** Every phase that was ever reported, in order. */
  readonly history: { id: InstanceId; phase: SeenPhase; at: number }[] = [];
  fulls = 0;
  seenGeneration = 0;
  readonly output = new Map<string, string>();
  readonly closedConsoles = new Map<string, string>();
  /** Reports are answered unless this is false. */
  acknowledge = true;
  generation = 0;
  readonly instances = new Map<InstanceId, WantedInstance>();
  readonly jobs = new Map<JobId, WantedJob>();
  readonly migrations = new Map<MigrationId, WantedMigration>();
  readonly seenJobs = new Map<JobId, JobState>();
  readonly seenMigrations = new Map<MigrationId, SeenMigration["half"]>();
  network: Pick<Extract<ToCompute, { type: "wanted" }>, "vpcs" | "subnets" | "securityGroups"> = {
    vpcs: [],
    subnets: [],
    securityGroups: [],
  };
  peers: Peer[] = [];
  cpuBaseline: CpuBaseline = "host";
  migrationTransport: MigrationTransport = "tls";
  migrationConnections = 1;
  #asks = new Map<number, { resolve: (value: unknown) => void; reject: (error: Error) => void }>();
  #nextAsk = 1;

  /** Changes what is wanted and tells the host, if it is connected. */
  want(...instances: (Omit<WantedInstance, "generation"> & { generation?: number })[]): void {
    this.generation++;
    for (const one of instances) this.instances.set(one.id, { ...one, generation: this.generation });
    this.#send({
      type: "wanted",
      generation: this.generation,
      full: false,
      ...this.network,
      instances: instances.flatMap((one) => this.instances.get(one.id) ?? []),
      jobs: [],
      migrations: [],
    });
  }

  /** Orders a job, and tells the host if it is connected. */
  wantJob(spec: JobSpec): JobId {
    const job = { id: newId("job"), generation: ++this.generation, spec, gone: false };
    this.jobs.set(job.id, job);
    this.#sendJob(job);
    return job.id;
  }

  /** The job is over, as far as VStation is concerned. */
  endJob(id: JobId): void {
    const job = this.jobs.get(id);
    this.jobs.delete(id);
    this.seenJobs.delete(id);
    if (job !== undefined) this.#sendJob({ ...job, generation: ++this.generation, gone: true });
  }

  async untilJob(id: JobId, is: JobState["is"], patienceMs = 60_000): Promise<JobState> {
    await until(`${id} to be ${is}`, () => this.seenJobs.get(id)?.is === is, patienceMs).catch((error: unknown) => {
      throw new Error(`${id} is ${JSON.stringify(this.seenJobs.get(id))}, not ${is}`, { cause: error });
    });
    return this.seenJobs.get(id) as JobState;
  }

  /** Orders a half of a migration, or says something new of it; `gone`: it is over, as far as VStation is concerned. */
  wantMigration(it: Omit<WantedMigration, "generation">): void {
    const migration = { ...it, generation: ++this.generation };
    if (it.gone) this.migrations.delete(it.id);
    else this.migrations.set(it.id, migration);
    this.#sendPart({ jobs: [], migrations: [migration] });
  }

  #sendJob(job: WantedJob): void {
    this.#sendPart({ jobs: [job], migrations: [] });
  }

  #sendPart(part: { jobs: WantedJob[]; migrations: WantedMigration[] }): void {
    this.#send({ type: "wanted", generation: this.generation, full: false, ...this.network, instances: [], ...part });
  }

  /** Drops an instance from what is wanted and says everything anew. */
  forget(id: InstanceId): void {
    this.generation++;
    this.instances.delete(id);
    this.sendWhole();
  }

  sendWhole(): void {
    this.#send({
      type: "wanted",
      generation: this.generation,
      full: true,
      ...this.network,
      instances: [...this.instances.values()],
      jobs: [...this.jobs.values()],
      migrations: [...this.migrations.values()],
    });
  }

  setPeers(peers: Peer[]): void {
    this.generation++;
    this.peers = peers;
    this.#send({ type: "peers", generation: this.generation, full: true, peers });
  }

  /** How a named check of the last readiness report came out. */
  check(name: string): "ok" | "warning" | "error" | undefined {
    return this.hello?.readiness.checks.find((one) => one.name === name)?.level;
  }

  async ask(ask: Ask): Promise<unknown> {
    await until("the host to be connected", () => this.socket !== null);
    const id = this.#nextAsk++;
    return new Promise((resolve, reject) => {
      this.#asks.set(id, { resolve, reject });
      this.#send({ type: "ask", id, ask });
    });
  }

  type(session: string, text: string): void {
    this.#send({ type: "console.input", session, data: Buffer.from(text).toString("base64") });
  }

  phase(id: InstanceId): SeenPhase | undefined {
    return this.seen.get(id)?.phase;
  }

  async untilPhase(id: InstanceId, is: SeenPhase["is"], patienceMs = 60_000): Promise<SeenPhase> {
    await until(`${id} to be ${is}`, () => this.phase(id)?.is === is, patienceMs).catch((error: unknown) => {
      throw new Error(`${id} is ${JSON.stringify(this.seen.get(id))}, not ${is}`, { cause: error });
    });
    return this.phase(id) as SeenPhase;
  }

  connected(socket: WebSocket): void {
    this.socket = socket;
    socket.on("message", (data) => this.#receive(fromComputeSchema.parse(JSON.parse((data as Buffer).toString()))));
    socket.on("close", () => {
      if (this.socket === socket) this.socket = null;
    });
  }

  #receive(message: FromCompute): void {
    switch (message.type) {
      case "hello":
        this.hello = message;
        this.hellos++;
        this.#send({
          type: "welcome",
          protocol: agentProtocol,
          hostId: this.hostId,
          heartbeatMs: 3000,
          cpuBaseline: this.cpuBaseline,
          migrationTransport: this.migrationTransport,
          migrationConnections: this.migrationConnections,
          place: { region: "test", zone: "test-1" },
        });
        if (message.wantedGeneration < this.generation) this.sendWhole();
        if (message.peersGeneration < this.generation) {
          this.#send({ type: "peers", generation: this.generation, full: true, peers: this.peers });
        }
        return;
      case "seen":
        if (message.full) {
          this.fulls++;
          this.seen.clear();
        }
        this.seenGeneration = message.wantedGeneration;
        for (const one of message.instances) {
          this.seen.set(one.id, one);
          this.history.push({ id: one.id, phase: one.phase, at: performance.now() });
        }
        for (const { id, state } of message.jobs) if (this.jobs.has(id)) this.seenJobs.set(id, state);
        for (const { id, half } of message.migrations) this.seenMigrations.set(id, half);
        if (this.acknowledge) this.#send({ type: "ack", seq: message.seq });
        return;
      case "answer":
        this.#asks.get(message.id)?.resolve(message.answer);
        return;
      case "refusal":
        this.#asks.get(message.id)?.reject(new Error(`${message.code}: ${message.message}`));
        return;
      case "console.output":
        this.output.set(
          message.session,
          (this.output.get(message.session) ?? "") + Buffer.from(message.data, "base64").toString("latin1"),
        );
        return;
      case "console.closed":
        this.closedConsoles.set(message.session, message.reason);
        return;
      case "report":
        if (this.hello) this.hello = { ...this.hello, inventory: message.inventory, readiness: message.readiness };
        return;
    }
  }

  #send(message: ToCompute): void {
    this.socket?.send(JSON.stringify(message));
  }
}

export class FakeVstation {
  readonly port: number;
  readonly caFingerprint: string;
  readonly #server: Server;
  readonly #sessions = new Map<string, FakeHostSession>();
  /** Token -> public key that used it: the same host may ask again, because an answer can be lost. */
  readonly #tokens = new Map<string, string | null>();
  joins = 0;
  /** How long hosts' certificates are good from now on. It renews none, but gives their QEMUs one. */
  certificateMs = 86_400_000;
  /** While false, QEMUs get none. */
  certifies = true;
  /** While false, hosts that dial in are turned away, as by a VStation that is not there. */
  accepting = true;

  private constructor(server: Server, port: number, caFingerprint: string) {
    this.#server = server;
    this.port = port;
    this.caFingerprint = caFingerprint;
  }

  static async start(address: string): Promise<FakeVstation> {
    const caKeys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const ca = await x509.X509CertificateGenerator.createSelfSigned({
      serialNumber: "01",
      name: "CN=test CA",
      ...validity,
      keys: caKeys,
      signingAlgorithm: algorithm,
      extensions: [
        new x509.BasicConstraintsExtension(true, 0, true),
        new x509.KeyUsagesExtension(x509.KeyUsageFlags.keyCertSign, true),
      ],
    });
    let fake: FakeVstation | undefined;
    const sign = (
      name: string,
      publicKey: webcrypto.CryptoKey,
      extensions: x509.Extension[],
    ): Promise<x509.X509Certificate> =>
      x509.X509CertificateGenerator.create({
        serialNumber: randomBytes(8).toString("hex"),
        subject: name,
        issuer: ca.subject,
        notBefore: validity.notBefore,
        notAfter: fake === undefined ? validity.notAfter : new Date(Date.now() + fake.certificateMs),
        publicKey,
        signingKey: caKeys.privateKey,
        signingAlgorithm: algorithm,
        extensions,
      });
    const keys = await crypto.subtle.generateKey(algorithm, true, ["sign", "verify"]);
    const certificate = await sign("CN=vstation", keys.publicKey, [
      new x509.SubjectAlternativeNameExtension([{ type: "ip", value: address }]),
      new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.serverAuth]),
    ]);
    const pkcs8 = Buffer.from(await crypto.subtle.exportKey("pkcs8", keys.privateKey)).toString("base64");
    const server = createServer({
      key: `-----BEGIN PRIVATE KEY-----\n${pkcs8}\n-----END PRIVATE KEY-----\n`,
      cert: `${certificate.toString("pem")}\n${ca.toString("pem")}`,
      ca: ca.toString("pem"),
      requestCert: true,
      rejectUnauthorized: false,
    });
    await new Promise<void>((resolve) => server.listen(0, address, resolve));
    const print = Buffer.from(await ca.getThumbprint("SHA-256")).toString("hex");
    const made = new FakeVstation(server, (server.address() as AddressInfo).port, print);
    fake = made;
    const sockets = new WebSocketServer({ noServer: true });
    server.on("upgrade", (request, socket, head) => {
      const tls = request.socket as TLSSocket;
      if (!made.accepting || !tls.authorized || request.url !== "/agent") return void socket.destroy();
      const hostId = tls.getPeerCertificate().subject.CN;
      const session = [...made.#sessions.values()].find((one) => one.hostId === hostId);
      return sockets.handleUpgrade(request, socket, head, (ws) => session?.connected(ws));
    });
    const issue = async (csr: x509.Pkcs10CertificateRequest, hostId: HostId, name: string): Promise<string> => {
      const issued = await sign(`CN=${name}`, (await csr.publicKey.export()) as webcrypto.CryptoKey, [
        new x509.ExtendedKeyUsageExtension([x509.ExtendedKeyUsage.clientAuth, x509.ExtendedKeyUsage.serverAuth]),
        new x509.SubjectAlternativeNameExtension([{ type: "dns", value: hostId }]),
      ]);
      return JSON.stringify({ hostId, certificate: issued.toString("pem"), ca: ca.toString("pem") });
    };
    server.on("request", (request, response) => {
      let body = "";
      request.on("data", (part: Buffer) => (body += part.toString()));
      request.on("end", () => {
        void (async () => {
          if (request.url === "/renew") {
            const { use, csr: asked } = renewRequestSchema.parse(JSON.parse(body));
            const hostId = (request.socket as TLSSocket).getPeerCertificate().subject.CN as HostId;
            if (use === "host" || !made.certifies) return void response.writeHead(404).end();
            const csr = new x509.Pkcs10CertificateRequest(asked);
            return void response.end(await issue(csr, hostId, `QEMU of ${hostId}`));
          }
          const join = joinRequestSchema.parse(JSON.parse(body));
          const csr = new x509.Pkcs10CertificateRequest(join.csr);
          const key = csr.publicKey.toString("pem");
          const usedBy = made.#tokens.get(join.token);
          if (usedBy === undefined || (usedBy !== null && usedBy !== key)) {
            response.writeHead(403).end(JSON.stringify({ code: "JoinTokenUnknown", message: "not a token of ours" }));
            return undefined;
          }
          made.joins++;
          made.#tokens.set(join.token, key);
          const { hostId } = made.session(join.name);
          return void response.end(await issue(csr, hostId, hostId));
        })().catch((error: unknown) => response.writeHead(500).end(String(error)));
      });
    });
    return made;
  }

  newToken(): string {
    const token = randomBytes(24).toString("hex");
    this.#tokens.set(token, null);
    return token;
  }

  session(name: string): FakeHostSession {
    let session = this.#sessions.get(name);
    if (session === undefined) this.#sessions.set(name, (session = new FakeHostSession()));
    return session;
  }

  /** Ends every connection, as a VStation that is killed does. */
  disconnect(): void {
    for (const session of this.#sessions.values()) session.socket?.terminate();
  }

  async stop(): Promise<void> {
    this.disconnect();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
