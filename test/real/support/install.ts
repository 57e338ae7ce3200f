/** What an operator types by docs/install.md, on a test's machine. */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Plan } from "../../../lab/plan.ts";
import type { Machine } from "./machine.ts";

const repository = join(import.meta.dirname, "../../..");
const version = readdirSync("/usr/lib/postgresql").toSorted((a, b) => Number(b) - Number(a))[0] ?? "15";
/** PostgreSQL's unit, and where its settings are. */
export const postgresql = { unit: `postgresql@${version}-main`, etc: `/etc/postgresql/${version}/main` };

/** A file with this text; `how` is install's word on owner and mode. */
export async function put(machine: Machine, file: string, text: string, how: string): Promise<void> {
  await machine.must(`cat | install ${how} /dev/stdin ${file}`, { input: text });
}

/** What PostgreSQL's package makes when it is installed; machines begin as a copy of one where that may have been left out. */
export async function newCluster(machine: Machine): Promise<void> {
  await machine.must(
    `pg_dropcluster --stop ${version} main 2> /dev/null; rm -rf ${postgresql.etc} /var/lib/postgresql/${version}/main; ` +
      `pg_createcluster ${version} main && systemctl start ${postgresql.unit}`,
  );
}

let tree: Buffer | undefined;

/** User, group, programs and units; nothing is configured or started. */
export async function installVStation(machine: Machine): Promise<void> {
  // As `git clone` leaves it, with what is not committed yet.
  tree ??= execFileSync(
    "sh",
    ["-c", "git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -czf -"],
    { cwd: repository, maxBuffer: 2 ** 30, stdio: ["ignore", "pipe", "ignore"] },
  );
  await machine.must("adduser --system --group --uid 640 --home /var/lib/vstation vstation");
  await machine.must("addgroup --system --gid 641 vstation-convert && adduser vstation vstation-convert");
  await machine.must("mkdir -p /opt/vstation/current && tar -xz -C /opt/vstation/current", { input: tree });
  await machine.must("cd /opt/vstation/current && npm ci --omit=dev");
  await machine.must("install -d -o root -g vstation -m 750 /etc/vstation");
  await machine.must(
    "cd /opt/vstation/current && cp packaging/systemd/vstation.service packaging/systemd/vstation-convert* /etc/systemd/system/ && " +
      "systemctl daemon-reload",
  );
}

/** The example that is shipped, with a network that the test is a member of. */
export function exampleConfig({ guests, underlay }: Plan) {
  const example = JSON.parse(readFileSync(join(repository, "packaging/vstation.example.json"), "utf8")) as {
    listen: object;
    agents: object;
    subnet: object;
  };
  return {
    ...example,
    systemDiskGiB: 1,
    subnet: {
      ...example.subnet,
      cidr: guests.cidr,
      gateway: guests.gateway,
      gatewayMac: guests.gatewayMac,
      vni: guests.vni,
      dns: [guests.gateway],
      fixedPeers: [{ ip: guests.edge.ip, mac: guests.edge.mac, vtep: underlay.address }],
    },
  };
}
