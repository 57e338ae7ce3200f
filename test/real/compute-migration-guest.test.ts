/**
 * A move as the guest and those that talk to it see it: connections go on, nothing that comes late is lost, the clock is right. Real hosts,
 * real firewalls.
 */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import type { WantedSecurityGroup } from "../../src/api/agent.ts";
import type { SecurityGroupId } from "../../src/lib/ids.ts";
import { until } from "../until.ts";
import { addressOf, MovingBed, type MovingGuest } from "./support/moving-bed.ts";
import type { Place } from "./support/move.ts";
import { testGroup, testNetwork, testSubnet } from "./support/wanted-documents.ts";

/** A guest may begin what it likes, and nobody may begin anything with it. */
const closedGroup: WantedSecurityGroup = {
  id: "sg-closed01" as SecurityGroupId,
  ingress: [],
  egress: [{ action: "accept", protocol: "all", ports: null, peer: { cidr: "0.0.0.0/0" } }],
};

let bed: MovingBed;

beforeAll(async () => {
  bed = await MovingBed.begin();
  for (const { host, session } of bed.places) {
    // Half a minute is the kernel's own, and less than a slow machine's move takes.
    const timeouts = ["udp_timeout", "udp_timeout_stream", "icmp_timeout"];
    host.sh(`sysctl -qw ${timeouts.map((name) => `net.netfilter.nf_conntrack_${name}=600`).join(" ")}`);
    session.network = { ...testNetwork, securityGroups: [...testNetwork.securityGroups, closedGroup] };
    session.sendWhole();
  }
}, 240_000);
afterAll(() => bed.end(), 120_000);
afterEach(() => bed.removeGuests());

let last = 100;
function withNic(change: Partial<{ securityGroupIds: SecurityGroupId[]; elasticIp: string }>) {
  const number = last++;
  const nic = { mac: `52:54:00:77:01:${number.toString(16)}`, ip: `10.77.1.${number}`, subnetId: testSubnet.id };
  return { nics: [{ ...nic, securityGroupIds: [testGroup.id], elasticIp: null, ...change }] };
}

async function moveTo(guest: MovingGuest, to: Place): Promise<void> {
  const move = bed.move(guest, to);
  await move.untilOver();
  expect(move.end).toEqual({ as: "SUCCEEDED" });
  bed.outside.knows(bed.peers());
}

/** Entries of the guest in this host's kernel. */
const trackedAt = ({ host }: Place, guest: MovingGuest): string =>
  host.sh(`conntrack -L 2>/dev/null | grep -w ${addressOf(guest)} || true`).trim();

/** Bytes of datagrams that wait in the guest's sockets, in the kernel's own list of them. */
function waiting(sockets: string): number {
  const queues = sockets.matchAll(/ [0-9A-F]{8}:([0-9A-F]{8}) \d\d:/g);
  return [...queues].reduce((sum, [, bytes]) => sum + Number.parseInt(bytes ?? "0", 16), 0);
}

test("what a guest has begun goes on after a move although only the other side has something to say", async () => {
  const guest = await bed.boot(bed.here, withNic({ securityGroupIds: [closedGroup.id] }));
  const shell = await bed.shellOf(guest);
  const [tcp, udp] = [await bed.outside.speaker("tcp", 5000), await bed.outside.speaker("udp", 5001)];
  await shell.run("(sleep 10000 | nc 10.77.0.2 5000 >/tmp/heard) & true");
  await tcp.heard();
  // One datagram now, the next one in an hour; what is answered waits in its socket, unread.
  await shell.run("probe beat start 10.77.0.2 5001 3600000000");
  await udp.heard();
  // One that has no ports is told as well, and does not keep back the others.
  await shell.run("ping -c 1 -w 10 10.77.0.2");
  expect(trackedAt(bed.here, guest)).toMatch(/icmp/);
  tcp.say("before");
  await shell.until("cat /tmp/heard", (text) => text.includes("before"));
  let heard = 0;
  for (const [turn, to] of [bed.there, bed.here, bed.there].entries()) {
    const from = guest.at;
    await moveTo(guest, to);
    await until("the former host to have forgotten it", () => trackedAt(from, guest) === "");
    expect(trackedAt(to, guest)).toMatch(/icmp/);
    tcp.say(`after ${turn}`);
    udp.say("an answer");
    const moved = await bed.shellOf(guest);
    await moved.until("cat /tmp/heard", (text) => text.includes(`after ${turn}`));
    const before = heard;
    await moved.until("cat /proc/net/udp", (text) => (heard = waiting(text)) > before);
    // The group is what it was: nobody begins anything.
    expect(await bed.outside.pings(addressOf(guest), 2)).toBe(0);
  }
});

test("nothing that is sent to it is lost but in the pause, though its senders hear of the move late", async () => {
  const guest = await bed.boot(bed.here);
  const asker = bed.outside.asker(addressOf(guest), 10);
  await asker.moreAnswers(50);
  const move = bed.move(guest, bed.there);
  move.holdOver = true;
  await move.until("the guest to have moved", () => move.moved && move.source?.is === "left");
  // They still send to the source, which passes it on.
  await asker.moreAnswers(200);
  bed.outside.knows(bed.peers());
  await asker.moreAnswers(100);
  const { sent, lost } = await asker.end();
  await move.untilOver();
  const pauseMs = move.source?.is === "left" ? move.source.pauseMs : null;
  process.stdout.write(`pause ${pauseMs?.toFixed(1)} ms, ${lost.length} of ${sent} datagrams lost, one each 10 ms\n`);
  // One stretch, and that is the pause.
  expect((lost.at(-1) ?? 0) - (lost[0] ?? 0)).toBe(Math.max(0, lost.length - 1));
});

test("connections by an elastic address go on, there and back, though nobody hears that it has moved", async () => {
  const elasticIp = bed.underlay.host(200);
  const guest = await bed.boot(bed.here, withNic({ elasticIp }));
  // A neighbour entry that no announcement changes: what is sent goes to the first host for ever.
  const mac = /ether ([0-9a-f:]{17})/.exec(bed.here.host.sh("ip -o link show eth0"))?.[1];
  execFileSync("ip", `neigh replace ${elasticIp} lladdr ${mac} dev ${bed.underlay.bridge} nud permanent`.split(" "));
  const socket = connect({ host: elasticIp, port: 7 });
  try {
    await once(socket, "connect");
    expect(await echoes(socket)).toBe(true);
    for (const to of [bed.there, bed.here]) {
      await moveTo(guest, to);
      expect(await echoes(socket)).toBe(true);
    }
  } finally {
    socket.destroy();
    execFileSync("ip", ["neigh", "del", elasticIp, "dev", bed.underlay.bridge]);
  }
});

/** More than any window: whoever kept the old one in mind would take the rest for strange. */
async function echoes(socket: Socket): Promise<boolean> {
  const bytes = randomBytes(2_000_000);
  const parts: Buffer[] = [];
  let size = 0;
  const take = (part: Buffer): void => {
    parts.push(part);
    size += part.length;
  };
  socket.on("data", take).write(bytes);
  await until("the guest to have echoed all of it", () => size >= bytes.length, 120_000);
  socket.off("data", take);
  return Buffer.concat(parts).equals(bytes);
}
