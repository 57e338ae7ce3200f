/**
 * `debian-12` as its owner meets it: run by the official SDK, started by the firmware from its own disk, configured by cloud-init from
 * the seed, entered by ssh with the key pair that the API made.
 */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { connectCloud, type CloudClient } from "../../bench/cloud.ts";
import { debianImageId } from "../../guest/debian/build.ts";
import { run } from "../../lab/run.ts";
import { TestLab } from "../../lab/testing.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { SshKey } from "./support/ssh.ts";

/** A boot of Debian without KVM takes a minute on two free cores. */
const patience = { timeout: 600_000, interval: 3_000 };
const userData = `#!/bin/sh
echo "$(hostname) $(id -un)" >/var/lib/user-data-ran
`;

const root = join(import.meta.dirname, "../..");
const lab = new TestLab();
let cloud: CloudClient;
let key: SshKey | undefined;
let keyId: string;

beforeAll(async () => {
  await lab.start({ hosts: 2 });
  cloud = connectCloud(lab.home.credentialsFile);
  const { KeyPair } = await cloud.sdk.CreateKeyPair({ KeyName: "mine", ProjectId: 0 });
  key = new SshKey(KeyPair?.PrivateKey ?? "");
  keyId = KeyPair?.KeyId ?? "";
});
afterAll(async () => {
  key?.remove();
  await lab.destroy();
});

async function boot(
  imageId: string,
  diskGiB: number,
  diskType?: string,
): Promise<{ id: InstanceId; inside: (command: string) => Promise<string> }> {
  const wish = {
    name: "debian",
    imageId,
    instanceType: "T1.SMALL1",
    userData,
    keyIds: [keyId],
    diskGiB,
    ...(diskType === undefined ? {} : { diskType }),
  };
  const [id] = await cloud.run(wish);
  if (id === undefined) throw new Error("RunInstances returned no id");
  await cloud.succeeded([id], 120_000);
  const { ip } = await cloud.instance(id);
  return { id, inside: async (command) => (key === undefined ? "" : key.run(`debian@${ip}`, command)) };
}

/** Its agent is told what time it is. A pause is too short for this clock; being late by more is the same to who puts it right. */
async function expectClockRightAfterMove(id: InstanceId, inside: (command: string) => Promise<string>): Promise<void> {
  // To log in may take half a minute, to log out does not.
  const lateSeconds = async () => {
    const seconds = Number(await inside("date +%s.%N"));
    return Date.now() / 1_000 - seconds;
  };
  const bootId = await inside("cat /proc/sys/kernel/random/boot_id");
  await inside("sudo systemctl stop systemd-timesyncd; sudo date -s @$(($(date +%s) - 40))");
  expect(await lateSeconds()).toBeGreaterThan(20);
  await lab.cli("instance", "migrate", id, "--wait");
  await vi.waitFor(async () => expect(Math.abs(await lateSeconds())).toBeLessThan(20), patience);
  expect(await inside("cat /proc/sys/kernel/random/boot_id")).toBe(bootId);
}

/** Processes of that name which have this path on their command line. */
function processesNamed(name: string, path: string): string[] {
  const commands = readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(commandOf);
  return commands.filter((command) => command.includes(`/${name}\0`) && command.includes(path));
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return ""; // gone since the listing
  }
}

describe("debian-12", () => {
  it("boots from its own disk, takes the seed, and lets its owner in", { timeout: 900_000 }, async () => {
    const { ImageSet } = await cloud.sdk.DescribeImages({ ImageIds: [debianImageId] });
    expect(ImageSet).toMatchObject([{ ImageName: "debian-12", Platform: "Debian", ImageSize: 2 }]);
    const { id, inside } = await boot(debianImageId, 4, "CLOUD_PREMIUM");
    await vi.waitFor(async () => expect(await inside("cloud-init status")).toBe("status: done"), patience);
    expect(await inside("cat /var/lib/user-data-ran")).toBe(`${id} root`);
    expect(await inside("id -un; sudo -n id -un; . /etc/os-release; echo $VERSION_ID; cat /proc/cmdline")).toMatch(
      /^debian\nroot\n12\nBOOT_IMAGE=\/vmlinuz root=LABEL=root /,
    );
    // The partition and the file system have grown to the disk that was asked for.
    expect(Number(await inside("df --output=size -BM / | tail -1 | tr -d M"))).toBeGreaterThan(3_500);
    await expectClockRightAfterMove(id, inside);
    await cloud.terminate(id);
    await vi.waitFor(async () => expect((await cloud.sdk.DescribeInstances({})).TotalCount).toBe(0), patience);
  });

  it("imported as an image of its own, starts by UEFI with secure boot and a TPM", { timeout: 1_200_000 }, async () => {
    const disk = join(lab.home.imageDir, debianImageId, "disk.qcow2");
    const flags = [
      "--format",
      "qcow2",
      "--name",
      "secure",
      "--boot-mode",
      "uefi",
      "--secure-boot",
      "--tpm",
      "--hyperv",
    ];
    const args = ["--home", lab.home.path, "image", "import", disk, ...flags, "--memory", "512", "--wait"];
    const imported = await run(join(root, "vstation"), args, { timeoutMs: 300_000 });
    const { id, inside } = await boot(imported.trim(), 4);
    await vi.waitFor(async () => expect(await inside("cloud-init status")).toBe("status: done"), patience);
    expect(await inside("sudo mokutil --sb-state")).toContain("SecureBoot enabled");
    expect(await inside("cat /sys/firmware/efi/fw_platform_size; sudo dmesg | grep -c 'Kernel is locked down'")).toBe(
      "64\n1",
    );
    expect(await inside("cat /sys/class/tpm/tpm0/tpm_version_major; test -c /dev/tpm0 && echo there")).toBe("2\nthere");
    // Both are the instance's own files: they go with it.
    const folder = join(lab.home.hostDir(lab.guestsOf(id)[0]?.host ?? ""), "state/instances", id);
    const files = readdirSync(folder, { recursive: true }).map(String);
    expect(files).toEqual(expect.arrayContaining(["nvram.fd", expect.stringMatching(/^tpm\/.*permall/)]));
    await cloud.terminate(id);
    await vi.waitFor(async () => expect((await cloud.sdk.DescribeInstances({})).TotalCount).toBe(0), patience);
    expect(existsSync(folder)).toBe(false);
    await vi.waitFor(() => expect(processesNamed("swtpm", lab.home.path)).toEqual([]), patience);
  });
});
