/** The readiness report: named checks, each with what was found and, where something is missing, what to do next. */
import { access, readFile, readdir, statfs } from "node:fs/promises";
import * as z from "zod";
import type { Readiness, ReadinessCheck } from "../../api/agent.ts";
import { formatError } from "../../lib/errors.ts";
import type { CpuBaseline } from "../../core/machine.ts";
import type { MigrationTransport } from "../../core/migration/halves.ts";
import { dedicatedPlaces, type HostPlaces } from "../../core/cpu-plan.ts";
import { parseId, type InstanceId } from "../../lib/ids.ts";
import { firstOf } from "../../lib/words.ts";
import type { ComputeConfig } from "../config.ts";
import { isReal } from "../machine/places.ts";
import { bridgeFilterMissing, canFilterBridges } from "../network/host.ts";
import { pathsOf } from "../paths.ts";
import { run } from "../process.ts";
import { DiskFiles, sharedMark } from "../storage/disk-files.ts";
import { ovmfFiles } from "../vm/domain-xml/firmware.ts";
import type { DiskAccess } from "../storage/probe.ts";
import type { CertificateState } from "../link/renewal.ts";
import type { AcceleratorProof } from "./accelerator.ts";

export interface ReadinessInput {
  readonly config: ComputeConfig;
  readonly proof: AcceleratorProof;
  readonly versions: { libvirt: string; qemu: string };
  readonly libvirtConnected: boolean;
  readonly foreignDomains: readonly string[];
  readonly wentBack: { held: number; offered: number } | null;
  readonly certificate: CertificateState | null;
  /** How the zone's guests move, and what keeps this host's QEMU from that. */
  readonly migration: { readonly transport: MigrationTransport; readonly trouble: () => Promise<string | null> };
  readonly widestMtu: number;
  readonly places: HostPlaces;
  readonly damagedAllotments: readonly InstanceId[];
  readonly disk: DiskAccess;
  /** The zone's, and what keeps this host from giving it. */
  readonly processor: { readonly baseline: CpuBaseline; readonly lacks: () => Promise<string | null> };
}

const deviceSchema = z.array(
  z.object({ mtu: z.number(), addr_info: z.array(z.object({ local: z.string().optional() })) }),
);

type Check = (input: ReadinessInput) => Promise<Omit<ReadinessCheck, "name">>;

const ok = (message: string): Omit<ReadinessCheck, "name"> => ({ level: "ok", message });
const warning = (message: string): Omit<ReadinessCheck, "name"> => ({ level: "warning", message });
const error = (message: string): Omit<ReadinessCheck, "name"> => ({ level: "error", message });

const checks: Readonly<Record<string, Check>> = {
  accelerator: async ({ proof }) =>
    proof.accelerator === "kvm"
      ? ok(`KVM: ${proof.evidence}`)
      : warning(
          `TCG, many times slower than KVM: ${proof.evidence}. Enable virtualisation in the firmware (or nesting in the outer ` +
            `hypervisor), load kvm_intel or kvm_amd, and start the host anew`,
        ),
  libvirt: async ({ libvirtConnected, versions, config }) =>
    libvirtConnected
      ? ok(`libvirt ${versions.libvirt}, QEMU ${versions.qemu}`)
      : error(
          `libvirt does not answer at ${config.libvirtSocket}: guests run on, nothing can be started; look at its service`,
        ),
  disk: async ({ config }) => {
    const { bavail, blocks, bsize } = await statfs(config.stateDir);
    const gib = ((bavail * bsize) / 2 ** 30).toFixed(1);
    const share = bavail / Math.max(1, blocks);
    if (share < 0.02)
      return error(`${gib} GiB free for disks: guests will be paused; free space at ${config.stateDir}`);
    if (share < 0.1) return warning(`${gib} GiB free for disks; free space at ${config.stateDir}`);
    return ok(`${gib} GiB free for disks`);
  },
  shared: async ({ config }) => {
    if (config.sharedDir === undefined) return ok("no folder is shared by the hosts: cloud disks stay on one host");
    const room = await new DiskFiles(pathsOf(config), config.sharedDir).shared();
    if (room === null) {
      return error(
        `the shared folder is not mounted at ${config.sharedDir} (it would hold a file ${sharedMark}); mount it`,
      );
    }
    const text = `${room.freeGiB} of ${room.totalGiB} GiB free in the shared folder`;
    return room.freeGiB < room.totalGiB * 0.05 ? warning(`${text}; guests are paused when it is full`) : ok(text);
  },
  machine: async ({ places, damagedAllotments, disk }) => {
    if (damagedAllotments.length > 0) {
      return warning(
        `what ${damagedAllotments.join(", ")} owns of this host cannot be read (allotment.json in its folder): no processors are ` +
          `given away until it is restored, or the instance is stopped and the file removed`,
      );
    }
    const cpus = new Set(places.places.map(({ cpu }) => cpu)).size;
    const pages = places.hugepages.map(
      ({ memoryMiB, size, node }) => `${memoryMiB} MiB of ${size} pages on node ${node}`,
    );
    const has =
      `${dedicatedPlaces(places)} of ${places.places.length} processors can be given to one instance alone; ` +
      `hugepages: ${pages.join(", ") || "none"}; disks by ${disk.io}, ${disk.cache === "none" ? "direct" : "buffered"}`;
    return isReal(places)
      ? ok(has)
      : warning(
          `${has}. The ${places.places.length} processors are declared and lie on ${cpus}: dedicated in the books only`,
        );
  },
  processor: async ({ processor: { baseline, lacks }, libvirtConnected }) => {
    if (baseline === "host")
      return ok("guests see this host's own processor, and move only to hosts that have the same");
    const name = baseline.model;
    if (!libvirtConnected)
      return warning(`whether guests can have the zone's processor, ${name}, is known when libvirt answers`);
    const lacking = await lacks();
    return lacking === null
      ? ok(`guests see the zone's processor, ${name}`)
      : error(
          `guests cannot have the zone's processor, ${name}: ${lacking}. Choose a processor for the zone that all hosts have ` +
            `(cpuBaseline), or take this host out of it`,
        );
  },
  firmware: async () => {
    const needed = [ovmfFiles.plain, ovmfFiles.secure].flatMap(({ code, variables }) => [code, variables]);
    const missing = (await Promise.all(needed.map(async (file) => ((await isThere(file)) ? [] : [file])))).flat();
    const tpm = await isThere("/usr/bin/swtpm");
    if (missing.length === 0 && tpm) return ok("UEFI with and without secure boot, TPM 2.0");
    const lacks = [...(missing.length === 0 ? [] : ["ovmf"]), ...(tpm ? [] : ["swtpm, swtpm-tools"])].join(", ");
    return warning(`images that start by UEFI or have a TPM cannot run here: install ${lacks}`);
  },
  images: async ({ config }) => {
    const found = (await readdir(config.imageDir).catch(() => [])).filter(
      (name) => parseId("image", name) !== undefined,
    );
    return ok(found.length > 0 ? `${found.length} found` : "none yet: each is fetched when an instance needs it");
  },
  clock: async () => {
    const year = new Date().getFullYear();
    return year >= 2024 ? ok("plausible") : error(`the clock says ${year}: certificates will not verify; set it`);
  },
  forwarding: async () =>
    (await readFile("/proc/sys/net/ipv4/ip_forward", "utf8")).trim() === "1"
      ? ok("the kernel forwards packets")
      : warning("net.ipv4.ip_forward is 0; it is set when the first subnet comes, unless something forbids it"),
  firewall: async () => {
    await run("nft", ["list", "tables"]);
    try {
      await run("conntrack", ["--count"]);
    } catch (failure) {
      return warning(`connections of guests that move cannot be kept: ${formatError(failure)}`.slice(0, 1024));
    }
    return (await canFilterBridges()) ? ok("nftables works, on bridges too") : error(bridgeFilterMissing);
  },
  underlay: async ({ config, widestMtu }) => {
    const { underlayDevice, underlayAddress } = config.network;
    const text = await run("ip", ["-j", "-4", "addr", "show", "dev", underlayDevice]);
    const [device] = deviceSchema.parse(JSON.parse(text));
    const mtu = device?.mtu ?? 0;
    if (!device?.addr_info.some((address) => address.local === underlayAddress)) {
      return error(
        `${underlayDevice} does not have the address ${underlayAddress}: correct the configuration or the interface`,
      );
    }
    return mtu >= widestMtu + 50
      ? ok(`${underlayAddress} on ${underlayDevice}, MTU ${mtu}`)
      : error(
          `${underlayDevice} has an MTU of ${mtu}; VXLAN needs 50 more than the guests' ${widestMtu}: raise it to ${widestMtu + 50}`,
        );
  },
  certificate: async ({ certificate }) => {
    if (certificate === null) return error("this host has no certificate: it has not joined VStation");
    const { ends, trouble } = certificate;
    const until = `valid until ${ends.toISOString().slice(0, 16)}Z`;
    if (trouble === null) return ok(`${until}, and renewed before that`);
    return warning(`${until}, and could not be renewed yet, which is tried again: ${trouble}`);
  },
  migration: async ({ migration: { transport, trouble } }) => {
    if (transport === "plain") {
      return warning(
        "the memory of guests that move goes over the underlay in plain text, as the zone's configuration says (migration.transport)",
      );
    }
    const why = await trouble();
    return why === null
      ? ok("the memory of guests that move goes by TLS")
      : warning(`guests cannot be moved to or from this host: ${why}`);
  },
  strangers: async ({ foreignDomains }) =>
    foreignDomains.length === 0
      ? ok("libvirt has no domain that is not ours")
      : warning(`left alone, but not counted in the capacity: ${firstOf(foreignDomains, 5)}`),
  generation: async ({ wentBack }) =>
    wentBack === null
      ? ok("VStation's truth goes forward")
      : error(
          `VStation offers generation ${wentBack.offered}, but gave ${wentBack.held} before: its database was put back. Nothing is ` +
            `changed on this host; compare, then remove the wanted folder`,
        ),
};

export async function readReadiness(input: ReadinessInput): Promise<Readiness> {
  const found = await Promise.all(
    Object.entries(checks).map(async ([name, check]): Promise<ReadinessCheck> => {
      try {
        const { level, message } = await check(input);
        return { name, level, message: message.slice(0, 1024) };
      } catch (cause) {
        return { name, level: "error", message: `could not be checked: ${formatError(cause)}`.slice(0, 1024) };
      }
    }),
  );
  return { accelerator: input.proof.accelerator, checks: found };
}

function isThere(file: string): Promise<boolean> {
  return access(file).then(
    () => true,
    () => false,
  );
}
