/**
 * A namespace host: what a whole machine is to Compute (own network, processes, hostname, libvirtd, guests), made of Linux
 * namespaces within seconds. It shares the machine's kernel and folders; its capacity is declared, not measured.
 *
 *   unshare --fork (the handle, out here)
 *     PID 1: boot.sh, then tini
 *       services.sh: keeps libvirtd and Compute running
 *         libvirtd, Compute; QEMUs are re-parented to tini and outlive both
 *
 * Killing PID 1 is pulling the plug: the kernel ends everything inside, network and mounts go with it.
 */
import { chmodSync, existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { ComputeConfig } from "../../src/compute/config.ts";
import type { ChildSpec } from "../child.ts";
import { keep, newToken, settingsFile, stableUuid, writeWhole, type Home } from "../home.ts";
import { underlayMtu, type HostPlan, type Plan } from "../plan.ts";

/** What each lab host says it has. */
export interface Shape {
  readonly cores: number;
  readonly memoryMiB: number;
  readonly diskGiB: number;
}
/** Disks are thin, so far more of them is declared than lies there; a guest that finds the real disk full is paused and says so. */
export const defaultShape: Shape = { cores: 8, memoryMiB: 16_384, diskGiB: 4_000 };

const root = join(import.meta.dirname, "../..");

export function hostSpec(home: Home, plan: Plan, host: HostPlan): ChildSpec {
  const dir = home.hostDir(host.name);
  return {
    name: host.name,
    command: [
      // Outside its new network namespace the host still has to reach the bridge: descriptor 4.
      "sh",
      "-c",
      'exec 4</proc/self/ns/net; exec "$@"',
      "sh",
      "unshare",
      "--net",
      "--uts",
      "--mount",
      "--propagation",
      "private",
      "--pid",
      "--fork",
      "--kill-child=SIGKILL",
      "sh",
      join(import.meta.dirname, "boot.sh"),
    ],
    env: {
      HOST_DIR: dir,
      HOST_NAME: host.name,
      HOST_ADDRESS: host.address,
      HOST_GATEWAY: plan.underlay.address,
      HOST_BRIDGE: plan.underlay.bridge,
      HOST_PORT: host.port,
      HOST_MAC: host.mac,
      HOST_MTU: String(underlayMtu),
      HOST_SERVICES: join(import.meta.dirname, "services.sh"),
      HOST_NODE: join(root, "node_modules/.bin/node"),
      HOST_COMPUTE: join(root, "src/compute/main.ts"),
      HOST_SETTINGS: settingsFile(home.path),
    },
    logFile: join(dir, "log/host.log"),
    namespaced: true,
    politely: "SIGTERM",
    graceMs: 7000,
  };
}

/** The token of a host that has not joined yet; made once, because VStation is told of it before the host is started. */
export function joinTokenFile(home: Home, name: string): string {
  const file = join(home.hostDir(name), "join-token");
  mkdirSync(home.hostDir(name), { recursive: true, mode: 0o700 });
  keep(file, newToken);
  return file;
}

/** Lays out the host's folder: its own /etc and /var, Compute's configuration. Run before each start. */
export function prepareHost(
  home: Home,
  plan: Plan,
  host: HostPlan,
  shape: Shape | "machine",
  caFingerprint: string,
): void {
  const dir = home.hostDir(host.name);
  for (const each of ["etc/libvirt/tls", "var", "log", "status", "state"]) {
    mkdirSync(join(dir, each), { recursive: true, mode: 0o755 });
  }
  chmodSync(dir, 0o700);
  const etc = (name: string, text: string): void => writeWhole(join(dir, "etc", name), text, 0o644);
  etc("hostname", `${host.name}\n`);
  etc("hosts", `127.0.0.1 localhost\n${host.address} ${host.name}\n`);
  etc("resolv.conf", resolvers());
  etc("libvirt/libvirtd.conf", libvirtdConf(stableUuid(home.path, host.name)));
  etc("libvirt/qemu.conf", qemuConf);

  const config: ComputeConfig = {
    name: host.name,
    stateDir: join(dir, "state"),
    runDir: "/run/vstation",
    // A machine of its own shares no folder: it fetches what it needs.
    imageDir: host.kind === "nested" ? join(dir, "state/images") : home.imageDir,
    imageCacheGiB: 100,
    ...(host.kind === "nested" ? {} : { sharedDir: home.sharedDir }),
    libvirtSocket: "/run/libvirt/libvirt-sock",
    vstation: {
      servers: [`${plan.underlay.address}:${plan.agentPort}`],
      caFingerprint,
      joinTokenFile: joinTokenFile(home, host.name),
    },
    shape,
    overcommit: { cpu: 4, memory: 1 },
    network: { underlayAddress: host.address, underlayDevice: "eth0" },
    migration: {
      tlsDirectory: "/etc/libvirt/tls",
      // An emulated machine of one processor is held up for as long as its guest writes.
      silenceSeconds: host.kind === "nested" ? 60 : 6,
    },
  };
  writeWhole(join(dir, "compute.json"), `${JSON.stringify(config, undefined, 2)}\n`, 0o600);
}

/** The machine's own resolvers, but for those on its loopback, which a host cannot reach. */
function resolvers(): string {
  // systemd-resolved writes the real servers here and a loopback address into /etc.
  const file = ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"].find((each) => existsSync(each));
  const lines = file === undefined ? [] : readFileSync(file, "utf8").split("\n");
  return `${lines.filter((line) => line.trim() !== "" && !/^\s*(#|;|nameserver\s+(127\.|::1))/.test(line)).join("\n")}\n`;
}

function libvirtdConf(uuid: string): string {
  return `# Made by the lab for this host.
host_uuid = "${uuid}"
unix_sock_dir = "/run/libvirt"
unix_sock_rw_perms = "0700"
auth_unix_ro = "none"
auth_unix_rw = "none"
log_outputs = "2:stderr"
max_clients = 200
max_workers = 40
prio_workers = 10
`;
}

// Cgroups and security drivers belong to the machine, which the lab leaves alone; extended attributes that remember owners
// would outlive a host whose folder is copied; one log file per guest needs no further daemon.
const qemuConf = `# Made by the lab for this host.
user = "root"
group = "root"
remember_owner = 0
swtpm_user = "root"
swtpm_group = "root"
cgroup_controllers = []
security_driver = "none"
stdio_handler = "file"
max_core = 0
dump_guest_core = 0
migration_port_min = 49152
migration_port_max = 49215
migrate_tls_x509_cert_dir = "/etc/libvirt/tls"
migrate_tls_x509_verify = 1
`;
