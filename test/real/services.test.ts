/**
 * VStation as docs/install.md says: two replicas by their systemd unit, on machines that share a link with each other and a folder of
 * images on a file server; PostgreSQL on a machine of its own, by TLS, one replica by password and one by certificate; a host by the
 * line of `host add`. Then what may happen to them: killed, hung, the database restarted. What an operator types is typed here.
 */
import { execFile, execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { getCACertificates, setDefaultCACertificates } from "node:tls";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { CloudClient, credentialsSchema } from "../../bench/cloud.ts";
import { ProbeClient } from "../../guest/probe-client.ts";
import { edgeDown, edgeUp } from "../../lab/edge.ts";
import type { Plan } from "../../lab/plan.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { Authority } from "./support/authority.ts";
import { exampleConfig, installVStation, newCluster, postgresql, put } from "./support/install.ts";
import { Machine, traces } from "./support/machine.ts";

// Four machines are set up, and watchdogs waited for.
vi.setConfig({ testTimeout: 600_000 });
const repository = join(import.meta.dirname, "../..");
const patienceMs = 180_000;
const imageId = "img-tiny0001";
const password = "a password / of : many @ kinds";
const images = "/var/lib/vstation/images";

const dir = mkdtempSync(join(tmpdir(), "vstation-services-"));
const authority = new Authority();
let plan: Plan;
let db: Machine;
let host: Machine;

/** A machine that is a VStation. */
class Replica {
  readonly machine: Machine;
  #cloud: CloudClient | undefined;

  constructor(machine: Machine) {
    this.machine = machine;
  }

  get home(): string {
    return join(dir, this.machine.name);
  }

  /** As an operator elsewhere has it: by a copy of the credentials. */
  async cloud(): Promise<CloudClient> {
    if (this.#cloud === undefined) {
      const text = await this.machine.must("cat /var/lib/vstation/credentials.json");
      mkdirSync(this.home, { recursive: true });
      writeFileSync(join(this.home, "credentials.json"), text);
      this.#cloud = new CloudClient(credentialsSchema.parse(JSON.parse(text)));
    }
    return this.#cloud;
  }

  async pid(): Promise<string> {
    return (await this.machine.must("systemctl show -P MainPID vstation")).trim();
  }

  /** Does it place? Undefined when it does not answer. */
  async places(): Promise<boolean | undefined> {
    await this.cloud();
    const { nativeEndpoint, nativeToken } = credentialsSchema.parse(
      JSON.parse(readFileSync(join(this.home, "credentials.json"), "utf8")),
    );
    const asked = { headers: { authorization: `Bearer ${nativeToken}` }, signal: AbortSignal.timeout(5_000) };
    const text = await fetch(`${nativeEndpoint}/metrics`, asked).then(
      (answer) => answer.text(),
      () => undefined,
    );
    return text === undefined ? undefined : Number(/^vstation_placement_epoch (\d+)$/m.exec(text)?.[1]) > 0;
  }

  async ready(): Promise<void> {
    await until(`${this.machine.name} to answer`, async () => (await this.places()) !== undefined, patienceMs);
  }
}

let one: Replica;
let two: Replica;
const machines: Machine[] = [];

beforeAll(async () => {
  setDefaultCACertificates([...getCACertificates("default"), authority.certificate]);
  delete process.env["http_proxy"];
  await promisify(execFile)(process.execPath, [join(repository, "setup/main.mjs"), "image", "tiny"]);
  plan = await edgeUp(dir, undefined);
  const wire = { plan, home: { path: dir } };
  const names = ["db", "vstation1", "vstation2", "web1"];
  const begins = names.map(async (name, index) => {
    const machine = await Machine.start(wire, name, 20 + index);
    machines.push(machine);
    return machine;
  });
  const [a, b, c, d] = (await Promise.all(begins)) as [Machine, Machine, Machine, Machine];
  [db, host] = [a, d];
  [one, two] = [new Replica(b), new Replica(c)];
});
afterAll(async () => {
  await Promise.all(machines.map((machine) => machine.destroy()));
  await edgeDown(dir);
  authority.destroy();
  rmSync(dir, { recursive: true, force: true });
});

/** The one that places, and the other: for a lease's length none may, when a machine was too busy to renew it. */
async function roles(): Promise<readonly [placing: Replica, other: Replica]> {
  const look = async () => {
    const [first, second] = await Promise.all([one.places(), two.places()]);
    if (first === true && second === false) return [one, two] as const;
    return first === false && second === true && ([two, one] as const);
  };
  return until("one of them to place", look, patienceMs);
}

async function vstation(replica: Replica, ...args: string[]): Promise<string> {
  const file = join(dir, "ca.crt");
  writeFileSync(file, authority.certificate);
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: file };
  const { stdout } = await promisify(execFile)(join(repository, "vstation"), ["--home", replica.home, ...args], {
    env,
  });
  return stdout;
}

describe("the database's machine", () => {
  it("has PostgreSQL for two addresses, by TLS", async () => {
    await newCluster(db);
    const { cert, key } = authority.issue("db", ["db.example"]);
    await put(db, "/etc/postgresql/tls.crt", cert, "-o postgres -m 644");
    await put(db, "/etc/postgresql/tls.key", key, "-o postgres -m 600");
    await put(db, "/etc/postgresql/clients-ca.crt", authority.certificate, "-o postgres -m 644");
    await db.must("su postgres -c 'createuser --pwprompt vstation && createdb --owner vstation vstation'", {
      input: `${password}\n${password}\n`,
    });
    const settings = [
      "listen_addresses = '*'",
      "ssl = on",
      "ssl_cert_file = '/etc/postgresql/tls.crt'",
      "ssl_key_file = '/etc/postgresql/tls.key'",
      "ssl_ca_file = '/etc/postgresql/clients-ca.crt'",
    ];
    await put(db, `${postgresql.etc}/conf.d/vstation.conf`, `${settings.join("\n")}\n`, "-m 644");
    await db.must(
      `printf '%s\\n' 'hostssl vstation vstation ${one.machine.address}/32 scram-sha-256' ` +
        `'hostssl vstation vstation ${two.machine.address}/32 cert' >> ${postgresql.etc}/pg_hba.conf`,
    );
    await db.must(`systemctl restart ${postgresql.unit}`);
    expect((await db.must("su postgres -c 'psql -Atc \"show ssl\"'")).trim()).toBe("on");
  });

  it("serves the folder of images", async () => {
    // A stand-in for NFS that needs nothing of the kernel but FUSE.
    await db.must("apt-get -q update && apt-get -q -y install --no-install-recommends openssh-sftp-server");
    await db.must("adduser --system --group --uid 640 --home /srv/images vstation");
    await put(db, "/etc/systemd/system/files.socket", "[Socket]\nListenStream=2222\nAccept=yes\n", "-m 644");
    const service = [
      "[Service]",
      "User=vstation",
      "StandardInput=socket",
      "ExecStart=-/usr/lib/openssh/sftp-server -d /srv/images",
    ];
    await put(db, "/etc/systemd/system/files@.service", `${service.join("\n")}\n`, "-m 644");
    await db.must("systemctl daemon-reload && systemctl start files.socket");
    const tar = execFileSync("tar", ["-C", join(repository, ".vstation/cache/images"), "-cf", "-", imageId], {
      maxBuffer: 2 ** 30,
    });
    await db.must("tar -C /srv/images --no-same-owner -xf - && chown -R vstation: /srv/images", { input: tar });
    expect(await db.must("ls /srv/images")).toContain(imageId);
  });
});

describe("a replica", () => {
  it("is installed from the repository alone", async () => {
    const installed = Promise.all(
      [one, two].map(async ({ machine }) => {
        await installVStation(machine);
        await machine.must(`echo '${db.address} db.example' >> /etc/hosts`);
        const { cert, key } = authority.issue(machine.name, [machine.address]);
        await put(machine, "/etc/vstation/tls.crt", cert, "-o root -g vstation -m 640");
        await put(machine, "/etc/vstation/tls.key", key, "-o root -g vstation -m 640");
        await put(machine, "/etc/vstation/db-ca.crt", authority.certificate, "-o root -g vstation -m 640");
      }),
    );
    await expect(installed).resolves.toHaveLength(2);
    const { cert, key } = authority.issue("vstation");
    await put(two.machine, "/etc/vstation/db.crt", cert, "-o root -g vstation -m 640");
    await put(two.machine, "/etc/vstation/db.key", key, "-o root -g vstation -m 640");
    const trust = "sslmode=verify-full&sslrootcert=/etc/vstation/db-ca.crt";
    await configure(one, `postgresql://vstation:${encodeURIComponent(password)}@db.example/vstation?${trust}`);
    await configure(
      two,
      `postgresql://vstation@db.example/vstation?${trust}&sslcert=/etc/vstation/db.crt&sslkey=/etc/vstation/db.key`,
    );
  });

  it("mounts the folder of images before it starts, and serves by its own unprivileged user", async () => {
    await mountOf(one);
    await one.machine.must("systemctl enable --now vstation");
    await one.ready();
    const said = await one.machine.must(
      `ps -o user= -p ${await one.pid()}; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/${await one.pid()}/status; ` +
        `findmnt -no FSTYPE ${images}; stat -c '%a %U' /var/lib/vstation/credentials.json /var/lib/vstation/pki/secrets.json`,
    );
    expect(said.split(/\s+/).join(" ").trim()).toBe(
      "vstation CapEff: 0000000000000400 NoNewPrivs: 1 Seccomp: 2 fuse.sshfs 600 vstation 600 vstation",
    );
    expect(await vstation(one, "image", "list")).toContain(imageId);
  });

  it("without the CA and the keys, or without the folder of images, says so and does not start", async () => {
    const why = async (): Promise<string> =>
      (await two.machine.run("systemctl stop vstation; journalctl -u vstation")).text;
    await mountOf(two);
    expect((await two.machine.run("systemctl enable --now vstation")).code).not.toBe(0);
    expect(await why()).toMatch(/ca\.pem is missing[^]*a replica gets the folder from the first one/);
    expect((await two.machine.run("ls /var/lib/vstation/pki")).text).toBe("");

    for (const file of ["ca.pem", "secrets.json"]) {
      const text = await one.machine.must(`cat /var/lib/vstation/pki/${file}`);
      await put(two.machine, `/var/lib/vstation/pki/${file}`, text, "-o vstation -g vstation -m 600");
    }
    await two.machine.must(`umount ${images} && sed -i '/sshfs/d' /etc/fstab && systemctl daemon-reload`);
    expect((await two.machine.run("systemctl start vstation")).code).not.toBe(0);
    expect(await why()).toMatch(/is not the folder of images of zone example-1: it has no file \.zone/);
  });

  it("with both is one more", async () => {
    await mountOf(two);
    await two.machine.must("systemctl start vstation");
    await two.ready();
    expect(await vstation(two, "image", "list")).toContain(imageId);
    await roles();
    const links = await db.must(
      `su postgres -c "psql -Atc \\"select distinct client_addr, ssl, client_dn from pg_stat_activity join pg_stat_ssl using (pid) where usename = 'vstation' order by 1\\""`,
    );
    expect(links).toBe(`${one.machine.address}|t|\n${two.machine.address}|t|/CN=vstation\n`);
  });
});

describe("a host of them", () => {
  let id: InstanceId;
  let guest: string;
  let ip: string;

  const pidOfGuest = async (): Promise<string> => (await host.must("pgrep qemu-system")).trim();
  const answers = async (): Promise<boolean> => {
    const probe = await ProbeClient.connect(ip).catch(() => undefined);
    const info = await probe?.info().catch(() => undefined);
    probe?.close();
    return info?.instanceId === id;
  };
  const isReadyAt = async (replica: Replica): Promise<boolean> => {
    const { native } = await replica.cloud();
    const { hosts } = await native.call("hostList", { query: {} });
    return hosts.length === 1 && hosts[0]?.state === "ready";
  };
  /** Made by one replica, looked at and ended by the other: needs placing, the host, and the word of one to reach the other. */
  const works = async (by: Replica, seenBy: Replica): Promise<void> => {
    const [cloud, other] = [await by.cloud(), await seenBy.cloud()];
    const [made] = await cloud.run({ name: "passing", imageId, instanceType: "T1.SMALL1" });
    if (made === undefined) throw new Error("nothing was made");
    const state = async (): Promise<string> => (await other.native.call("instanceGet", { params: { id: made } })).state;
    await until(`${made} to run`, async () => (await state()) === "RUNNING", patienceMs);
    await other.sdk.TerminateInstances({ InstanceIds: [made] });
    const left = async () => (await cloud.native.call("instanceList", { query: {} })).instances.map((each) => each.id);
    await until(`${made} to be gone`, async () => !(await left()).includes(made), patienceMs);
  };

  it("joins by the line, and is no machine of VStation itself", async () => {
    const { line } = JSON.parse(await vstation(two, "--json", "host", "add", "web1")) as { line: string };
    const here = await one.machine.run(line);
    expect(here.code).not.toBe(0);
    expect(here.text).toContain("this machine is a VStation");
    expect(await host.must(line)).toContain("This machine is a host");
    const isReady = async () => /web1 .*ready/.test(await vstation(one, "host", "list"));
    await until("the host to be ready", isReady, patienceMs);
  });

  it("runs an instance, made by the official SDK", async () => {
    const cloud = await one.cloud();
    const [made] = await cloud.run({ name: "kept", imageId, instanceType: "T1.SMALL1" });
    if (made === undefined) throw new Error("nothing was made");
    id = made;
    const { native } = await two.cloud();
    const look = async () => native.call("instanceGet", { params: { id } });
    await until("it to run", async () => (await look()).state === "RUNNING", patienceMs);
    ({ ip } = await look());
    await until("the guest's answer", answers, patienceMs);
    guest = await pidOfGuest();
    expect(guest).toMatch(/^\d+$/);
  });

  it("outlives the replica that places: it is killed, the other takes over, systemd starts it again", async () => {
    const [killed, other] = await roles();
    const before = await killed.pid();
    await killed.machine.must(`kill -KILL ${before}`);
    await until("the other to place", async () => (await other.places()) === true, patienceMs);
    await until("the host to be there", () => isReadyAt(other), patienceMs);
    await works(other, other);
    await killed.ready();
    expect(await killed.pid()).not.toBe(before);
    await works(killed, other);
    expect(await pidOfGuest()).toBe(guest);
  });

  it("outlives one that hangs: its lease ends, then its watchdog ends it", async () => {
    const [hung, other] = await roles();
    const before = await hung.pid();
    await hung.machine.must(`kill -STOP ${before}`);
    await until("the other to place", async () => (await other.places()) === true, patienceMs);
    await until("the host to be there", () => isReadyAt(other), patienceMs);
    await works(other, other);
    await until("systemd to start it anew", async () => !["0", before].includes(await hung.pid()), patienceMs);
    await hung.ready();
    expect(await hung.machine.must("journalctl -u vstation")).toContain("Watchdog timeout");
    await works(hung, other);
    expect(await pidOfGuest()).toBe(guest);
  });

  it("outlives the database", async () => {
    const pids = [await one.pid(), await two.pid()];
    await db.must(`systemctl restart ${postgresql.unit}`);
    const [placing] = await roles();
    await until("the host to be there", () => isReadyAt(placing), patienceMs);
    await works(one, two);
    await works(two, one);
    // Nobody had to be started again for it.
    expect([await one.pid(), await two.pid()]).toEqual(pids);
    expect(await pidOfGuest()).toBe(guest);
    expect(await answers()).toBe(true);
  });

  it("is removed without a trace", async () => {
    await (await one.cloud()).sdk.TerminateInstances({ InstanceIds: [id] });
    const { native } = await two.cloud();
    const left = async () => (await native.call("instanceList", { query: {} })).instances.length;
    await until("the instance to be gone", async () => (await left()) === 0, patienceMs);
    expect(await vstation(two, "host", "remove", "web1", "-y")).toContain("clears itself away");
    await until(
      "it to clear itself away",
      async () => (await host.run("test -e /opt/vstation")).code !== 0,
      patienceMs,
    );
    expect((await host.run(traces)).text).toBe("");
    expect(await vstation(one, "--json", "host", "list")).not.toContain("web1");
  });
});

/** With this machine's own names. */
async function configure({ machine }: Replica, database: string): Promise<void> {
  const example = exampleConfig(plan);
  const config = {
    ...example,
    database,
    listen: { ...example.listen, name: machine.address },
    agents: {
      ...example.agents,
      names: [machine.address],
      servers: [`${one.machine.address}:7443`, `${two.machine.address}:7443`],
    },
  };
  await put(machine, "/etc/vstation/vstation.json", JSON.stringify(config), "-o root -g vstation -m 640");
}

async function mountOf({ machine }: Replica): Promise<void> {
  await machine.must("command -v sshfs || (apt-get -q update && apt-get -q -y install --no-install-recommends sshfs)");
  const options = "directport=2222,allow_other,default_permissions,uid=640,gid=640,_netdev";
  await machine.must(
    `echo 'db.example:/srv/images ${images} fuse.sshfs ${options} 0 0' >> /etc/fstab; systemctl daemon-reload`,
  );
}
