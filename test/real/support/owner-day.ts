// oxlint-disable vitest/no-standalone-expect -- the steps of tests, which call them
/**
 * What an owner does with a Debian guest in a day, by the official SDK's own clients and OpenSSH alone: a network of one's own beside
 * a stranger's with the same range, a guest that is entered by its elastic address, its user data and metadata, a port that is closed
 * while a connection lives on, a disk that is damaged and brought back.
 */
import { spawn } from "node:child_process";
import { connect } from "node:net";
import { vpc } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/index.js";
import { expect, vi } from "vitest";
import { connectCloud, credentialsSchema, sdkConfig, type CloudClient } from "../../../bench/cloud.ts";
import { debianImageId } from "../../../guest/debian/build.ts";
import { imageId as tinyImageId } from "../../../bench/delivery/guest.ts";
import type { TestLab } from "../../../lab/testing.ts";
import { SshKey } from "./ssh.ts";

/** A boot of Debian on an emulated processor takes minutes, and a host that has no image yet fetches it before. */
const patience = { timeout: 900_000, interval: 2_000 };
const soon = { timeout: 300_000, interval: 1_000 };
/** A login alone takes half a minute where the processor itself is emulated and shared. */
const commandMs = 180_000;
const cidr = "10.50.0.0/16";
const subnetCidr = "10.50.1.0/24";
const webPort = "8080";

const userData = `#!/bin/sh
echo "$(hostname) $(id -un)" >/var/lib/user-data-ran
mkdir -p /srv/web && echo hello >/srv/web/index.html
systemd-run --unit=web python3 -m http.server ${webPort} --directory /srv/web
`;

export interface Day {
  /** From the rule's removal, milliseconds, until a new connection was refused its port. */
  readonly closedAfterMs: number;
}

/** Walks the day to its end and leaves nothing; throws at the first thing that is not as it should be. */
export async function ownerDay(lab: TestLab): Promise<Day> {
  const day = await OwnersDay.begin(lab);
  try {
    return await day.walk();
  } finally {
    day.key.remove();
  }
}

interface Net {
  vpcId: string;
  subnetId: string;
}

interface Where {
  mine: Net;
  stranger: Net;
  group: string;
}

class OwnersDay {
  readonly key: SshKey;
  readonly #cloud: CloudClient;
  readonly #vpc: InstanceType<typeof vpc.v20170312.Client>;
  readonly #cbs: CloudClient["cbs"];
  readonly #keyId: string;

  private constructor(lab: TestLab, cloud: CloudClient, pair: { id: string; key: SshKey }) {
    this.#cloud = cloud;
    this.#vpc = new vpc.v20170312.Client(sdkConfig(credentialsSchema.parse(lab.credentials)));
    this.#cbs = cloud.cbs;
    this.#keyId = pair.id;
    this.key = pair.key;
  }

  static async begin(lab: TestLab): Promise<OwnersDay> {
    const cloud = connectCloud(lab.home.credentialsFile);
    const { KeyPair } = await cloud.sdk.CreateKeyPair({ KeyName: "owners_day", ProjectId: 0 });
    return new OwnersDay(lab, cloud, { id: KeyPair?.KeyId ?? "", key: new SshKey(KeyPair?.PrivateKey ?? "") });
  }

  async walk(): Promise<Day> {
    const mine = await this.#net("mine");
    const stranger = await this.#net("stranger");
    const group = await this.#group();
    const guest = await this.#run("debian", debianImageId, mine, "10.50.1.10", group);
    const { addressId, ip } = await this.#elasticAddress(guest);
    const inside = (command: string): Promise<string> => this.key.run(`debian@${ip}`, command, commandMs);

    await vi.waitFor(async () => expect(await inside("cloud-init status")).toBe("status: done"), patience);
    expect(await inside("cat /var/lib/user-data-ran")).toBe(`${guest} root`);
    await this.#metadata(inside, guest);
    await this.#apart(inside, { mine, stranger, group });
    const closedAfterMs = await this.#closedPort(ip, group);
    await this.#diskBack(inside, guest);

    await this.#vpc.DisassociateAddress({ AddressId: addressId });
    await this.#vpc.ReleaseAddresses({ AddressIds: [addressId] });
    await this.#terminate([guest]);
    await this.#remove([mine, stranger], group);
    return { closedAfterMs };
  }

  async #net(name: string): Promise<Net> {
    const { Vpc } = await this.#vpc.CreateVpc({ VpcName: name, CidrBlock: cidr });
    const vpcId = Vpc?.VpcId ?? "";
    const wish = { VpcId: vpcId, SubnetName: name, CidrBlock: subnetCidr, Zone: this.#cloud.zone };
    const { Subnet } = await this.#vpc.CreateSubnet(wish);
    return { vpcId, subnetId: Subnet?.SubnetId ?? "" };
  }

  async #group(): Promise<string> {
    const { SecurityGroup } = await this.#vpc.CreateSecurityGroup({
      GroupName: "web",
      GroupDescription: "ssh and a page",
    });
    const SecurityGroupId = SecurityGroup?.SecurityGroupId ?? "";
    const from = { CidrBlock: "0.0.0.0/0", Action: "ACCEPT" };
    await this.#vpc.CreateSecurityGroupPolicies({
      SecurityGroupId,
      SecurityGroupPolicySet: {
        Ingress: [
          { Protocol: "TCP", Port: webPort, ...from },
          { Protocol: "TCP", Port: "22", ...from },
          { Protocol: "ICMP", ...from },
        ],
      },
    });
    await this.#vpc.CreateSecurityGroupPolicies({
      SecurityGroupId,
      SecurityGroupPolicySet: { Egress: [{ Protocol: "ALL", ...from }] },
    });
    return SecurityGroupId;
  }

  async #run(name: string, ImageId: string, net: Net, ip: string, group: string): Promise<string> {
    const debian = ImageId === debianImageId;
    const { InstanceIdSet } = await this.#cloud.sdk.RunInstances({
      Placement: { Zone: this.#cloud.zone },
      InstanceName: name,
      ImageId,
      InstanceType: "T1.SMALL1",
      VirtualPrivateCloud: { VpcId: net.vpcId, SubnetId: net.subnetId, PrivateIpAddresses: [ip] },
      SecurityGroupIds: [group],
      ...(debian
        ? { LoginSettings: { KeyIds: [this.#keyId] }, UserData: Buffer.from(userData).toString("base64") }
        : {}),
    });
    const id = InstanceIdSet?.[0] ?? "";
    const state = async () => (await this.#cloud.sdk.DescribeInstances({ InstanceIds: [id] })).InstanceSet?.[0];
    await vi.waitFor(async () => {
      expect(await state()).toMatchObject({ InstanceState: "RUNNING", PrivateIpAddresses: [ip] });
    }, patience);
    return id;
  }

  async #elasticAddress(instanceId: string): Promise<{ addressId: string; ip: string }> {
    const { AddressSet } = await this.#vpc.AllocateAddresses({ AddressCount: 1 });
    const addressId = AddressSet?.[0] ?? "";
    await this.#vpc.AssociateAddress({ AddressId: addressId, InstanceId: instanceId });
    const described = await this.#vpc.DescribeAddresses({ AddressIds: [addressId] });
    const [address] = described.AddressSet ?? [];
    expect(address).toMatchObject({ InstanceId: instanceId, PrivateAddressIp: "10.50.1.10" });
    return { addressId, ip: address?.AddressIp ?? "" };
  }

  async #metadata(inside: (command: string) => Promise<string>, id: string): Promise<void> {
    for (const address of ["169.254.0.23", "169.254.169.254"]) {
      const get = `import urllib.request as u; print(u.urlopen("http://${address}/latest/meta-data/instance-id").read().decode())`;
      expect(await inside(`python3 -c '${get}'`)).toBe(id);
    }
  }

  /**
   * The neighbour of one's own answers; the stranger's guest, which has an address of the same range, does not. They run for this only:
   * on an emulated processor an idle guest takes a third of it.
   */
  async #apart(inside: (command: string) => Promise<string>, { mine, stranger, group }: Where): Promise<void> {
    const guests = await Promise.all([
      this.#run("beside", tinyImageId, mine, "10.50.1.30", group),
      this.#run("stranger", tinyImageId, stranger, "10.50.1.20", group),
    ]);
    const answers = (ip: string) => inside(`ping -c 3 -W 3 ${ip} >/dev/null && echo yes || echo no`);
    await vi.waitFor(async () => expect(await answers("10.50.1.30")).toBe("yes"), soon);
    expect(await answers("10.50.1.20")).toBe("no");
    await this.#terminate(guests);
  }

  /** A port that is open is closed by taking its rule away; a connection through another rule lives through the change. */
  async #closedPort(ip: string, SecurityGroupId: string): Promise<number> {
    const page = async () => (await fetch(`http://${ip}:${webPort}/`, { signal: AbortSignal.timeout(10_000) })).text();
    await vi.waitFor(async () => expect(await page()).toBe("hello\n"), soon);
    const session = this.#session(ip);
    expect(await session.say("one")).toBe("one");
    await this.#vpc.DeleteSecurityGroupPolicies({
      SecurityGroupId,
      SecurityGroupPolicySet: {
        Ingress: [{ Protocol: "TCP", Port: webPort, CidrBlock: "0.0.0.0/0", Action: "ACCEPT" }],
      },
    });
    const closed = performance.now();
    // A dropped SYN is answered by nobody: what is not there within 300 ms on a link of microseconds was dropped.
    while (await connects(ip, Number(webPort), 300)) expect(performance.now() - closed).toBeLessThan(soon.timeout);
    const closedAfterMs = Math.max(0, performance.now() - closed - 300);
    expect(await session.say("two")).toBe("two");
    session.end();
    return closedAfterMs;
  }

  /** One ssh connection that echoes what it is told. */
  #session(ip: string): { say: (line: string) => Promise<string>; end: () => void } {
    const child = spawn("ssh", this.key.arguments(`debian@${ip}`, "cat"), { stdio: ["pipe", "pipe", "inherit"] });
    const lines: string[] = [];
    child.stdout.on("data", (data: Buffer) => void lines.push(...data.toString().trim().split("\n")));
    return {
      say: async (line) => {
        lines.length = 0;
        child.stdin.write(`${line}\n`);
        await vi.waitFor(() => expect(lines).toHaveLength(1), soon);
        return lines[0] ?? "";
      },
      end: () => child.stdin.end(),
    };
  }

  async #diskBack(inside: (command: string) => Promise<string>, guest: string): Promise<void> {
    const { DiskIdSet } = await this.#cbs.CreateDisks({
      DiskType: "CLOUD_PREMIUM",
      DiskChargeType: "POSTPAID_BY_HOUR",
      DiskSize: 10,
      Placement: { Zone: this.#cloud.zone },
    });
    const DiskIds = DiskIdSet ?? [];
    const [disk = ""] = DiskIds;
    const diskState = async () => (await this.#cbs.DescribeDisks({ DiskIds })).DiskSet?.[0]?.DiskState;
    const becomes = (state: string) => vi.waitFor(async () => expect(await diskState()).toBe(state), soon);
    const device = `/dev/disk/by-id/virtio-${disk}`;
    await becomes("UNATTACHED");
    await this.#cbs.AttachDisks({ InstanceId: guest, DiskIds });
    await becomes("ATTACHED");
    await vi.waitFor(() => inside(`test -b ${device}`), soon);
    await inside(
      `sudo mkfs.ext4 -q ${device} && sudo mount ${device} /mnt && echo precious | sudo tee /mnt/file && sync`,
    );

    const { SnapshotId = "" } = await this.#cbs.CreateSnapshot({ DiskId: disk, SnapshotName: "before" });
    await vi.waitFor(async () => {
      const { SnapshotSet } = await this.#cbs.DescribeSnapshots({ SnapshotIds: [SnapshotId] });
      expect(SnapshotSet).toMatchObject([{ SnapshotState: "NORMAL", Percent: 100 }]);
    }, soon);
    await inside(
      `sudo rm /mnt/file && sudo umount /mnt && sudo dd if=/dev/urandom of=${device} bs=1M count=8 conv=fsync`,
    );
    await this.#cbs.DetachDisks({ DiskIds });
    await becomes("UNATTACHED");
    await this.#cbs.ApplySnapshot({ SnapshotId, DiskId: disk });
    await becomes("UNATTACHED");
    await this.#cbs.AttachDisks({ InstanceId: guest, DiskIds });
    await becomes("ATTACHED");
    await vi.waitFor(() => inside(`test -b ${device}`), soon);
    expect(await inside(`sudo mount ${device} /mnt && cat /mnt/file && sudo umount /mnt`)).toBe("precious");

    await this.#cbs.DetachDisks({ DiskIds });
    await becomes("UNATTACHED");
    await this.#cbs.DeleteSnapshots({ SnapshotIds: [SnapshotId] });
    await this.#cbs.TerminateDisks({ DiskIds });
    await vi.waitFor(async () => expect((await this.#cbs.DescribeDisks({ DiskIds })).TotalCount).toBe(0), soon);
  }

  async #terminate(InstanceIds: string[]): Promise<void> {
    await this.#cloud.sdk.TerminateInstances({ InstanceIds });
    const left = async () => (await this.#cloud.sdk.DescribeInstances({ InstanceIds })).TotalCount;
    await vi.waitFor(async () => expect(await left()).toBe(0), soon);
  }

  async #remove(nets: readonly Net[], group: string): Promise<void> {
    for (const { vpcId, subnetId } of nets) {
      await this.#vpc.DeleteSubnet({ SubnetId: subnetId });
      await this.#vpc.DeleteVpc({ VpcId: vpcId });
    }
    await this.#vpc.DeleteSecurityGroup({ SecurityGroupId: group });
    await this.#cloud.sdk.DeleteKeyPairs({ KeyIds: [this.#keyId] });
  }
}

function connects(host: string, port: number, withinMs: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: withinMs });
    const end = (is: boolean) => {
      socket.destroy();
      resolve(is);
    };
    socket.once("connect", () => end(true));
    socket.once("timeout", () => end(false));
    socket.once("error", () => end(false));
  });
}
