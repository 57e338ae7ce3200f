/**
 * A cloud in memory for tests of the wire and of what the CLI prints, and for nothing else: it knows no placement, no hosts'
 * truth, no database. What it shows about behaviour is not evidence of anything; that is what test/real is for.
 */
import type { Inventory, Readiness } from "../../api/agent.ts";
import { failure } from "../../core/failure-codes.ts";
import { instanceType, instanceTypes } from "../../core/instance-types.ts";
import { limitsOf } from "../../core/quotas.ts";
import type { OperationKind } from "../../core/instance.ts";
import type { AccountId, DiskId, GroupId, HostId, InstanceId, KeyId, OperationId } from "../../lib/ids.ts";
import type * as use from "../cloud.ts";
import { fakeNetwork, fakeTags } from "../cloud/network.fake.ts";
import { fakeAccounts } from "./accounts.fake.ts";
import { fakeImage, fakeImages } from "./images.fake.ts";
import { FakeMigrations } from "./migrations.fake.ts";
import { FakeDisks, FakeSnapshots } from "./storage.fake.ts";
import type { Images } from "../cloud/images.ts";

export const fakeToken = "operator-token-of-a-test-only";
export const fakeAccount = "acct-00000001" as AccountId;
export const fakeHost = "host-aaaaaaa1" as HostId;
const start = new Date("2026-01-02T03:04:05.000Z");

const inventory: Inventory = {
  hostname: "host1",
  cores: 4,
  memoryMiB: 8192,
  diskGiB: 100,
  cpu: { model: "QEMU TCG", vendor: "AuthenticAMD", sockets: 1, coresPerSocket: 4, threadsPerCore: 1, mhz: 2445 },
  numa: [{ node: 0, cpus: "0-3", memoryMiB: 8192, hugepages: [{ sizeKiB: 2048, total: 0, free: 0 }] }],
  versions: { compute: "0.1.0", libvirt: "11.3.0", qemu: "10.0.2", kernel: "6.12.0", node: "24.21.0" },
};
const readiness: Readiness = {
  accelerator: "tcg",
  checks: [
    { name: "libvirt", level: "ok", message: "11.3.0 answers" },
    { name: "accelerator", level: "warning", message: "no KVM: guests are emulated; use a host with /dev/kvm" },
  ],
};

/** What a test may reach into. */
export class FakeCloud implements use.Cloud {
  readonly allInstances: use.InstanceView[] = [];
  readonly allOperations: use.OperationView[] = [];
  readonly allKeys: use.KeyView[] = [];
  readonly allGroups: use.GroupView[] = [];
  readonly log: use.ChangeEvent[] = [];
  readonly seen: { call: string; args: unknown[] }[] = [];
  /** Throws in the next call of the use cases, once. */
  failNext: Error | undefined;
  /** Whether operations end by themselves as soon as they are made. */
  endAtOnce = true;
  readonly network = fakeNetwork((call, args) => this.#enter(call, args));
  readonly tags = fakeTags();
  consoleData = Buffer.from("Booting...\r\nlogin: ");
  readonly consoles: FakeConsole[] = [];
  readonly #waiters = new Set<() => void>();
  #counter = 0;

  readonly allHosts: use.HostView[] = [
    {
      id: fakeHost,
      name: "host1",
      state: "ready",
      cordoned: false,
      drain: null,
      underlayAddress: "10.96.0.11",
      inventory,
      readiness,
      overcommit: { cpu: 4, memory: 1 },
      used: { vcpus: 0, dedicated: 0, memoryMiB: 0, diskGiB: 0, instances: 0 },
      seenAt: start,
      joinedAt: start,
    },
  ];

  readonly disks = new FakeDisks((call, args) => this.#enter(call, args));
  readonly snapshots = new FakeSnapshots((call, args) => this.#enter(call, args));
  readonly migrations = new FakeMigrations(
    (call, args) => this.#enter(call, args),
    (id, requestId) => {
      const [operationId] = this.#operate("instance.migrate", [id], requestId);
      return { operationId: operationId as OperationId, accountId: this.#find(id).accountId };
    },
  );

  readonly catalogue: use.Catalogue = {
    region: "local",
    zones: ["local-1"],
    types: instanceTypes,
    room: () =>
      this.#act("room", [], () => new Map(instanceTypes.map(({ name, vcpus }) => [name, Math.floor(16 / vcpus)]))),
  };

  emit(subject: use.ChangeEvent["subject"], subjectId: string): void {
    this.log.push({ id: BigInt(this.log.length + 1), at: start, subject, subjectId });
    for (const wake of [...this.#waiters]) wake();
  }

  readonly events: use.Events = {
    follow: (since, signal) => this.#follow(since ?? BigInt(this.log.length), signal),
  };

  async *#follow(since: bigint, signal: AbortSignal): AsyncGenerator<use.ChangeEvent> {
    let at = Number(since);
    while (!signal.aborted) {
      const event = this.log[at];
      if (event !== undefined) {
        at++;
        yield event;
        continue;
      }
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#waiters.add(resolve);
      signal.addEventListener("abort", () => resolve(), { once: true });
      await promise;
      this.#waiters.delete(resolve);
    }
  }

  get followers(): number {
    return this.#waiters.size;
  }

  operatorTokenValid(token: string): boolean {
    return token === fakeToken;
  }

  accessKey(): Promise<use.AccessKey | undefined> {
    return Promise.resolve(undefined);
  }

  /** Ends an operation, and its instance takes the state that belongs to it. */
  end(id: OperationId, error: use.OperationView["error"] = null): void {
    const operation = this.allOperations.find((one) => one.id === id);
    if (operation === undefined) throw new Error(`no operation ${id}`);
    operation.state = error === null ? "SUCCEEDED" : "FAILED";
    operation.error = error;
    operation.endedAt = start;
    operation.steps.push({ at: start, name: "done", note: null });
    const instance = this.allInstances.find((one) => one.id === operation.instanceId);
    if (instance !== undefined) {
      instance.state = operation.kind === "instance.stop" ? "STOPPED" : error === null ? "RUNNING" : "LAUNCH_FAILED";
      if (operation.kind === "instance.terminate") this.allInstances.splice(this.allInstances.indexOf(instance), 1);
      this.emit("instance", operation.instanceId);
    }
    this.emit("operation", id);
  }

  step(id: OperationId, name: string): void {
    const operation = this.allOperations.find((one) => one.id === id);
    operation?.steps.push({ at: start, name, note: null });
    if (operation !== undefined) operation.state = "RUNNING";
    this.emit("operation", id);
  }

  #id(prefix: string): string {
    return `${prefix}-${(++this.#counter).toString(36).padStart(8, "0")}`;
  }

  #act<T>(call: string, args: unknown[], work: () => T): Promise<T> {
    return new Promise((resolve) => {
      this.#enter(call, args);
      resolve(work());
    });
  }

  #enter(call: string, args: unknown[]): void {
    this.seen.push({ call, args });
    const failing = this.failNext;
    this.failNext = undefined;
    if (failing !== undefined) throw failing;
  }

  #operate(kind: OperationKind, ids: readonly InstanceId[], requestId: string): OperationId[] {
    const instances = ids.map((id) => this.#find(id));
    return instances.map((instance) => {
      const operation: use.OperationView = {
        id: this.#id("op") as OperationId,
        kind,
        instanceId: instance.id,
        accountId: instance.accountId,
        requestId,
        state: "PENDING",
        error: null,
        createdAt: start,
        endedAt: null,
        deadline: new Date(start.getTime() + 600_000),
        steps: [{ at: start, name: "accepted", note: null }],
      };
      this.allOperations.unshift(operation);
      instance.latestOperation = operation;
      if (this.endAtOnce) this.end(operation.id);
      return operation.id;
    });
  }

  #find(id: InstanceId): use.InstanceView {
    const found = this.allInstances.find((one) => one.id === id);
    if (found === undefined)
      throw failure("InstanceNotFound", `there is no instance ${id}`, { detail: { instanceId: id } });
    return found;
  }

  readonly instances: use.Instances = {
    run: (caller, request) =>
      this.#act("instances.run", [caller, request], () => {
        const type = instanceType(request.instanceType);
        if (type === undefined) throw failure("InstanceTypeUnknown", `there is no type ${request.instanceType}`);
        if (request.dryRun) return { instanceIds: [], operationIds: [] };
        const instanceIds = Array.from({ length: request.count }, (_, i) => {
          const id = this.#id("ins") as InstanceId;
          const base = request.name ?? "unnamed";
          this.allInstances.push({
            ...emptyInstance,
            id,
            name: request.count > 1 ? `${base}${i + 1}` : base,
            instanceType: type.name,
            vcpus: type.vcpus,
            memoryMiB: type.memoryGiB * 1024,
            imageId: request.imageId,
            ip: `10.128.0.${9 + this.#counter}`,
            keyIds: request.keyIds,
            groupId: request.groupId,
            userData: request.userData,
            restartPolicy: request.restartPolicy,
            tags: request.tags,
          });
          return id;
        });
        return { instanceIds, operationIds: this.#operate("instance.run", instanceIds, caller.requestId) };
      }),
    list: (caller, query, page) =>
      this.#act("instances.list", [caller, query, page], () => {
        const has = <T>(list: readonly T[] | undefined, value: T): boolean => list?.includes(value) ?? true;
        return slice(
          this.allInstances.filter(
            (one) => has(query.ids, one.id) && has(query.names, one.name) && has(query.states, one.state),
          ),
          page,
        );
      }),
    start: (caller, ids) =>
      this.#act("instances.start", [caller, ids], () => this.#operate("instance.start", ids, caller.requestId)),
    stop: (caller, ids, how) =>
      this.#act("instances.stop", [caller, ids, how], () => this.#operate("instance.stop", ids, caller.requestId)),
    reboot: (caller, ids, how) =>
      this.#act("instances.reboot", [caller, ids, how], () => this.#operate("instance.reboot", ids, caller.requestId)),
    resize: (caller, id, to) =>
      this.#act("instances.resize", [caller, id, to], () => this.#operate("instance.resize", [id], caller.requestId)),
    renumber: (caller, ids, request) =>
      this.#act("instances.renumber", [caller, ids, request], () =>
        this.#operate("instance.renumber", ids, caller.requestId),
      ),
    reinstall: (caller, id, request) =>
      this.#act("instances.reinstall", [caller, id, request], () => {
        const [operation] = this.#operate("instance.reinstall", [id], caller.requestId);
        if (operation === undefined) throw failure("InstanceNotFound", `there is no instance ${id}`);
        return operation;
      }),
    terminate: (caller, ids) =>
      this.#act("instances.terminate", [caller, ids], () => this.#operate("instance.terminate", ids, caller.requestId)),
    modify: (caller, ids, change) =>
      this.#act("instances.modify", [caller, ids, change], () => {
        for (const instance of ids.map((id) => this.#find(id))) {
          if (change.kind === "name") instance.name = change.name;
          if (change.kind === "restartPolicy") instance.restartPolicy = change.policy;
          if (change.kind === "terminationProtection") instance.terminationProtection = change.on;
        }
      }),
    setPassword: (caller, ids) => this.#act("instances.setPassword", [caller, ids], () => undefined),
    consoleLog: (caller, id, bytes) =>
      this.#act("instances.consoleLog", [caller, id, bytes], () => {
        this.#find(id);
        const data = this.consoleData.subarray(-bytes);
        return { data, truncated: data.length < this.consoleData.length };
      }),
    consoleOpen: (caller, id) =>
      this.#act("instances.consoleOpen", [caller, id], () => {
        this.#find(id);
        const session = new FakeConsole();
        this.consoles.push(session);
        return session;
      }),
  };

  readonly hosts: use.Hosts = {
    list: (page) => this.#act("hosts.list", [page], () => slice(this.allHosts, page)),
    get: (id) =>
      this.#act("hosts.get", [id], () => {
        const host = this.allHosts.find((one) => one.id === id);
        if (host === undefined) throw failure("HostNotFound", `there is no host ${id}`);
        return host;
      }),
    ask: (id, ask) => this.#act("hosts.ask", [id, ask], () => readiness),
    invite: (name, again) =>
      this.#act("hosts.invite", [name, again], () => ({
        name,
        token: "a".repeat(48),
        expiresAt: new Date(0),
        servers: ["10.96.0.1:7443"],
        ca: "-----BEGIN CERTIFICATE-----",
      })),
    cordon: (id, cordoned) => this.#act("hosts.cordon", [id, cordoned], () => undefined),
    drain: (id, how) => this.#act("hosts.drain", [id, how], () => undefined),
    undrain: (id, cancel) => this.#act("hosts.undrain", [id, cancel], () => undefined),
    remove: (id, dead) => this.#act("hosts.remove", [id, dead], () => ({ told: true })),
  };

  readonly operations: use.Operations = {
    list: (caller, query, page) =>
      this.#act("operations.list", [caller, query, page], () =>
        slice(
          this.allOperations.filter(
            (one) =>
              (query.instanceIds?.includes(one.instanceId) ?? true) && (query.states?.includes(one.state) ?? true),
          ),
          page,
        ),
      ),
    get: (caller, id) =>
      this.#act("operations.get", [caller, id], () => {
        const operation = this.allOperations.find((one) => one.id === id);
        if (operation === undefined) throw failure("OperationNotFound", `there is no operation ${id}`);
        return structuredClone(operation);
      }),
  };

  readonly keys: use.Keys = {
    create: (caller, name) =>
      this.#act("keys.create", [caller, name], () => ({
        key: this.#key(name, "ssh-ed25519 AAAA"),
        privateKey: "PRIVATE",
      })),
    import: (caller, name, publicKey) =>
      this.#act("keys.import", [caller, name, publicKey], () => this.#key(name, publicKey)),
    list: (caller, query, page) =>
      this.#act("keys.list", [caller, query, page], () =>
        slice(
          this.allKeys.filter(
            (key) => (query.ids?.includes(key.id) ?? true) && (query.names?.includes(key.name) ?? true),
          ),
          page,
        ),
      ),
    delete: (caller, ids) =>
      this.#act("keys.delete", [caller, ids], () => {
        for (const id of ids) {
          const at = this.allKeys.findIndex((key) => key.id === id);
          if (at < 0) throw failure("KeyNotFound", `there is no key ${id}`);
          this.allKeys.splice(at, 1);
        }
      }),
    modify: (caller, id, change) => this.#act("keys.modify", [caller, id, change], () => undefined),
    bind: (caller, ids, keyIds) => this.#act("keys.bind", [caller, ids, keyIds], () => undefined),
    unbind: (caller, ids, keyIds) => this.#act("keys.unbind", [caller, ids, keyIds], () => undefined),
  };

  #key(name: string, publicKey: string): use.KeyView {
    if (this.allKeys.some((key) => key.name === name)) throw failure("NameTaken", `there is a key named ${name}`);
    const key = { id: this.#id("skey") as KeyId, name, description: "", publicKey, createdAt: start, instanceIds: [] };
    this.allKeys.push(key);
    return key;
  }

  readonly groups: use.Groups = {
    create: (caller, request) =>
      this.#act("groups.create", [caller, request], () => {
        const { name, type, affinity } = request;
        const id = this.#id("ps") as GroupId;
        const group = { id, name, type, affinity, capacity: 100, instanceIds: [], createdAt: start };
        this.allGroups.push(group);
        return group;
      }),
    list: (caller, query, page) =>
      this.#act("groups.list", [caller, query, page], () =>
        slice(
          this.allGroups.filter((group) => query.name === undefined || query.name === group.name),
          page,
        ),
      ),
    delete: (caller, ids) =>
      this.#act("groups.delete", [caller, ids], () => {
        for (const id of ids) {
          const at = this.allGroups.findIndex((group) => group.id === id);
          if (at < 0) throw failure("GroupNotFound", `there is no group ${id}`);
          this.allGroups.splice(at, 1);
        }
      }),
    modify: (caller, id, change) => this.#act("groups.modify", [caller, id, change], () => undefined),
    put: (caller, ids, id) => this.#act("groups.put", [caller, ids, id], () => undefined),
    takeOut: (caller, ids, groupIds) => this.#act("groups.takeOut", [caller, ids, groupIds], () => undefined),
  };

  readonly accounts = fakeAccounts(fakeAccount, (call, args, work) => this.#act(call, args, work));
  readonly quotas: use.Cloud["quotas"] = (caller) =>
    this.#act("quotas", [caller], () => ({ limits: limitsOf({}), used: {} }));
  readonly audit: use.Cloud["audit"] = {
    list: (query) => this.#act("audit.list", [query], () => ({ total: 0, items: [] })),
  };

  readonly images: Images = fakeImages((call, args, work) => this.#act(call, args, work));
}

/** Echoes what is typed, and hands out what the test pushes. */
export class FakeConsole implements use.ConsoleSession {
  readonly written: Buffer[] = [];
  closed = false;
  readonly #queue: Buffer[] = [];
  #wake: () => void = () => undefined;

  readonly output: AsyncIterable<Buffer> = { [Symbol.asyncIterator]: () => this.#read() };

  async *#read(): AsyncGenerator<Buffer> {
    for (;;) {
      const chunk = this.#queue.shift();
      if (chunk !== undefined) yield chunk;
      else if (this.closed) return;
      else await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  push(data: string): void {
    this.#queue.push(Buffer.from(data));
    this.#wake();
  }

  write(data: Buffer): void {
    this.written.push(data);
    this.push(data.toString("latin1"));
  }

  close(): void {
    this.closed = true;
    this.#wake();
  }
}

function slice<T>(items: readonly T[], page: use.Page): use.Listed<T> {
  return { total: items.length, items: items.slice(page.offset, page.offset + page.limit) };
}

const emptyInstance: use.InstanceView = {
  id: "ins-00000000" as InstanceId,
  accountId: fakeAccount,
  uuid: "11111111-2222-4333-8444-555555555555",
  name: "unnamed",
  state: "PENDING",
  instanceType: "T1.SMALL1",
  vcpus: 1,
  memoryMiB: 1024,
  imageId: fakeImage,
  zone: "local-1",
  hostId: fakeHost,
  vpcId: "vpc-00000001" as use.InstanceView["vpcId"],
  subnetId: "subnet-00000001" as use.InstanceView["subnetId"],
  ip: "10.128.0.10",
  mac: "02:76:73:00:02:01",
  elastic: null,
  securityGroupIds: [],
  systemDisk: { id: "disk-00000001" as DiskId, type: "LOCAL_BASIC", sizeGiB: 10 },
  dataDisks: [],
  keyIds: [],
  groupId: null,
  userData: null,
  restartPolicy: "always",
  terminationProtection: false,
  tags: {},
  createdAt: start,
  incarnation: 1,
  epoch: 1,
  generation: 1,
  stale: false,
  attention: null,
  latestOperation: null,
};
