/**
 * Keys, passwords and another address in a real Debian with cloud-init, as its owner has them: from the first boot on, and changed
 * afterwards over a restart. Entered by OpenSSH alone.
 */
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { connectCloud, type CloudClient } from "../../bench/cloud.ts";
import { debianImageId } from "../../guest/debian/build.ts";
import { TestLab } from "../../lab/testing.ts";
import { SshKey, SshPassword } from "./support/ssh.ts";

/** A boot of Debian without KVM takes a minute on two free cores, and cores are seldom free. */
const patience = { timeout: 900_000, interval: 3_000 };
const minute = 60_000;

const lab = new TestLab();
let cloud: CloudClient;
const logins: { remove(): void }[] = [];

beforeAll(async () => {
  await lab.start({ hosts: 1 });
  cloud = connectCloud(lab.home.credentialsFile);
});
afterAll(async () => {
  for (const login of logins) login.remove();
  await lab.destroy();
});

async function makeKey(name: string): Promise<{ id: string; ssh: SshKey }> {
  const { KeyPair } = await cloud.sdk.CreateKeyPair({ KeyName: name, ProjectId: 0 });
  const ssh = new SshKey(KeyPair?.PrivateKey ?? "");
  logins.push(ssh);
  return { id: KeyPair?.KeyId ?? "", ssh };
}

function makePassword(text: string): SshPassword {
  const password = new SshPassword(text);
  logins.push(password);
  return password;
}

it(
  "lets in who has the key or the password of the moment and nobody else, at the address of the moment",
  { timeout: 60 * minute },
  async () => {
    const [key, otherKey] = [await makeKey("first"), await makeKey("second")];
    const [first, second] = [makePassword("Battery-Staple-1"), makePassword("Correct-Horse-2")];
    const { InstanceIdSet } = await cloud.sdk.RunInstances({
      Placement: { Zone: cloud.zone },
      ImageId: debianImageId,
      InstanceType: "T1.SMALL1",
      SystemDisk: { DiskSize: 4 },
      LoginSettings: { Password: first.text },
    });
    const [id] = InstanceIdSet as [Parameters<CloudClient["instance"]>[0]];
    await cloud.succeeded([id], 5 * minute);
    const { ip, vpcId: VpcId, subnetId: SubnetId } = await cloud.instance(id);
    const at = `debian@${ip}`;
    await vi.waitFor(async () => expect(await first.run(at, "cloud-init status")).toBe("status: done"), patience);
    const hostKey = await first.run(at, "cat /etc/ssh/ssh_host_ed25519_key.pub");
    await expect(second.run(at, "true")).rejects.toThrow(/denied/i);
    await expect(key.ssh.run(at, "true")).rejects.toThrow(/denied/i);

    const InstanceIds = [id];
    await cloud.sdk.AssociateInstancesKeyPairs({ InstanceIds, KeyIds: [key.id, otherKey.id], ForceStop: true });
    await cloud.settled([id], 10 * minute);
    for (const { ssh } of [key, otherKey]) {
      await vi.waitFor(async () => expect(await ssh.run(at, "id -un")).toBe("debian"), patience);
    }
    expect(await first.run(at, "id -un")).toBe("debian");
    // Nothing else was done anew: the guest is the same to whoever knows it.
    expect(await key.ssh.run(at, "cat /etc/ssh/ssh_host_ed25519_key.pub")).toBe(hostKey);

    await cloud.sdk.StopInstances({ InstanceIds, StopType: "SOFT_FIRST" });
    await cloud.settled([id], 10 * minute);
    await cloud.sdk.DisassociateInstancesKeyPairs({ InstanceIds, KeyIds: [key.id] });
    await cloud.sdk.ResetInstancesPassword({ InstanceIds, Password: second.text });
    const elsewhere = ip.replace(/\d+$/, "200");
    const VirtualPrivateCloud = { VpcId, SubnetId, PrivateIpAddresses: [elsewhere] };
    await cloud.sdk.ModifyInstancesVpcAttribute({ InstanceIds, VirtualPrivateCloud, ForceStop: false });
    await cloud.settled([id], 5 * minute);
    await cloud.sdk.StartInstances({ InstanceIds });
    await cloud.settled([id], 10 * minute);
    const there = `debian@${elsewhere}`;
    await vi.waitFor(async () => expect(await otherKey.ssh.run(there, "id -un")).toBe("debian"), patience);
    expect(await second.run(there, "id -un")).toBe("debian");
    await expect(first.run(there, "true")).rejects.toThrow(/denied/i);
    await expect(key.ssh.run(there, "true")).rejects.toThrow(/denied/i);
    expect(await otherKey.ssh.run(there, "cat /etc/ssh/ssh_host_ed25519_key.pub")).toBe(hostKey);
    expect(await otherKey.ssh.run(there, "ip -4 -o addr show scope global | awk '{print $4}'")).toMatch(
      new RegExp(`^${elsewhere.replaceAll(".", String.raw`\.`)}/\\d+$`),
    );
  },
);
