/**
 * A nested host: a whole virtual machine with a kernel of its own, real KVM and real memory, emulated by QEMU on this one.
 *
 *   unshare --fork (the handle, out here)
 *     PID 1: machine.sh, the power button
 *       QEMU: init in the initramfs, boot.sh, then services.sh, which a namespace host runs as well
 *
 * It needs no image: its root is this machine's, read-only over 9p under a layer of memory. What it keeps lies on `disk.raw` in its
 * folder; logs and states of its services are written into the folder itself, where the supervisor reads them.
 *
 * KVM: `-cpu max,+svm,+npt` gives the guest kernel AMD's virtualisation, emulated; kvm_amd works on it as on a processor. Nothing
 * of this needs KVM out here. Left out: la57, because each page walk of the emulation is a level shorter without it, and pku, whose
 * every write (V8 writes it around each piece of code that it makes) throws the emulation's translations away.
 *
 * One processor in one thread: with two emulated at once the machine goes down after some minutes of guests at work, by a panic about
 * the stack of a guest's processor thread (decision 13), and now and then a processor acknowledges its timer and never runs the handler.
 */
import { existsSync, readFileSync, renameSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ChildSpec } from "../child.ts";
import { settingsFile, writeWhole, type Home } from "../home.ts";
import { prepareHost } from "../host/host.ts";
import { underlayMtu, type HostPlan, type Plan } from "../plan.ts";
import { run } from "../run.ts";
import { nestedInitramfs, type NestedKernel } from "./kernel.ts";

const root = join(import.meta.dirname, "../..");
/**
 * An emulated processor that the machine leaves waiting in the wrong moment can lose its timer for good (seen once in a dozen boots
 * of a busy machine). Until boot.sh says otherwise such a stall ends the boot, and the supervisor begins another.
 */
const stalls = "sysctl.kernel.panic_on_rcu_stall=1 rcupdate.rcu_cpu_stall_timeout=8";
const kernelCommandLine = `console=ttyS0 loglevel=4 panic=-1 mitigations=off ${stalls}`;

/** What it has; only what it touches is taken from the machine. */
export const nestedMemoryMiB = 6144;
const diskGiB = 400;

export function nestedSpec(home: Home, plan: Plan, host: HostPlan, kernel: NestedKernel): ChildSpec {
  const dir = home.hostDir(host.name);
  const share = (tag: string, path: string, options: string): string[] => [
    "-fsdev",
    `local,id=${tag},path=${comma(path)},security_model=passthrough,multidevs=remap${options}`,
    "-device",
    `virtio-9p-pci,fsdev=${tag},mount_tag=${tag}`,
  ];
  return {
    name: host.name,
    command: [
      ...([
        "unshare",
        "--pid",
        "--fork",
        "--kill-child=SIGKILL",
        "sh",
        join(import.meta.dirname, "machine.sh"),
      ] as const),
      "qemu-system-x86_64",
      ...[
        "-name",
        host.name,
        "-machine",
        "q35",
        "-accel",
        "tcg,thread=single",
        "-cpu",
        "max,+svm,+npt,la57=off,pku=off",
      ],
      ...["-smp", "1", "-m", `${nestedMemoryMiB}M`],
      ...["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-qmp", "stdio"],
      ...[
        "-chardev",
        `file,id=console,path=${comma(join(dir, "log/console.log"))},append=on`,
        "-serial",
        "chardev:console",
      ],
      ...["-kernel", kernel.image, "-initrd", join(dir, "initrd"), "-append", kernelCommandLine],
      ...share("root", "/", ",readonly=on"),
      ...share("host", dir, ""),
      ...["-drive", `file=${comma(diskOf(dir))},format=raw,if=none,id=disk,discard=unmap`],
      ...["-device", "virtio-blk-pci,drive=disk", "-device", "virtio-rng-pci"],
      ...["-netdev", `tap,id=net,ifname=${host.port},script=${join(import.meta.dirname, "cable.sh")},downscript=no`],
      ...["-device", `virtio-net-pci,netdev=net,mac=${host.mac},host_mtu=${underlayMtu},romfile=`],
    ],
    env: { HOST_DIR: dir, HOST_MTU: String(underlayMtu), HOST_BRIDGE: plan.underlay.bridge },
    logFile: join(dir, "log/host.log"),
    namespaced: true,
    politely: "SIGTERM",
    graceMs: nestedGraceMs,
  };
}

/** An emulated machine takes its time to shut down. */
export const nestedGraceMs = 30_000;

/** Lays out the host's folder, its disk and its initramfs. Run before each start. */
export async function prepareNested(
  home: Home,
  plan: Plan,
  host: HostPlan,
  kernel: NestedKernel,
  caFingerprint: string,
): Promise<void> {
  prepareHost(home, plan, host, "machine", caFingerprint);
  const dir = home.hostDir(host.name);
  const disk = diskOf(dir);
  if (!existsSync(disk)) {
    const fresh = `${disk}.new`;
    rmSync(fresh, { force: true });
    writeFileSync(fresh, "", { mode: 0o600 });
    truncateSync(fresh, diskGiB * 2 ** 30);
    await run("mke2fs", ["-q", "-F", "-t", "ext4", "-L", host.name, fresh]);
    renameSync(fresh, disk);
  }
  writeFileSync(join(dir, "initrd"), await nestedInitramfs(kernel), { mode: 0o600 });
  const settings = join(dir, "settings.env");
  const ours = settingsFile(home.path);
  writeWhole(settings, existsSync(ours) ? readFileSync(ours, "utf8") : "", 0o600);
  const environment: Record<string, string> = {
    HOST_DIR: dir,
    HOST_NAME: host.name,
    HOST_ADDRESS: host.address,
    HOST_GATEWAY: plan.underlay.address,
    HOST_MTU: String(underlayMtu),
    HOST_KERNEL: kernel.release,
    HOST_MODULES: join(kernel.folder, "lib/modules", kernel.release),
    HOST_BOOT: join(import.meta.dirname, "boot.sh"),
    HOST_SERVICES: join(import.meta.dirname, "../host/services.sh"),
    HOST_RESET: join(import.meta.dirname, "reset.sh"),
    HOST_NODE: join(root, "node_modules/.bin/node"),
    HOST_COMPUTE: join(root, "src/compute/main.ts"),
    HOST_SETTINGS: settings,
  };
  const lines = Object.entries(environment).map(([name, value]) => `${name}='${value.replaceAll("'", `'\\''`)}'\n`);
  writeWhole(join(dir, "boot.env"), lines.join(""), 0o600);
}

function diskOf(dir: string): string {
  return join(dir, "disk.raw");
}

/** In QEMU's options a comma in a value is written twice. */
function comma(value: string): string {
  return value.replaceAll(",", ",,");
}
