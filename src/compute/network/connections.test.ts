/** What is read of the kernel's connections, and what is written there of those that another host tells of. */
import { expect, test } from "vitest";
import { belongs, connectionLines, connectionSchema, parseConnections, type TrackedNic } from "./connections.ts";

const nic: TrackedNic = { ip: "10.0.0.1", zone: 7, neighbours: new Set(["10.0.0.9"]) };

/** As conntrack 1.4.7 prints them. */
const lines = {
  tcp: "-A -t 431999 -u SEEN_REPLY,ASSURED -w 5 -s 10.0.0.1 -d 10.0.0.2 -r 10.0.0.2 -q 10.0.0.1 -p tcp --sport 1000 --dport 80 --reply-port-src 80 --reply-port-dst 1000 --state ESTABLISHED",
  udp: "-A -t 29 -u UNSET -w 5 -s 10.0.0.2 -d 10.0.0.1 -r 10.0.0.1 -q 10.0.0.2 -p udp --sport 1000 --dport 53 --reply-port-src 53 --reply-port-dst 1000",
  icmp: "-A -t 29 -u SEEN_REPLY -w 5 -s 10.0.0.1 -d 10.0.0.9 -r 10.0.0.9 -q 10.0.0.1 -p icmp --icmp-type 8 --icmp-code 0 --icmp-id 77",
};

test("what was read is what the kernel had, and can be written in another zone", () => {
  const read = parseConnections([...Object.values(lines), ""].join("\n"));
  expect(read).toEqual([
    {
      ...{ protocol: "tcp", from: "10.0.0.1", to: "10.0.0.2", fromPort: 1000, toPort: 80, state: "ESTABLISHED" },
      ...{ answered: true, assured: true, seconds: 431_999 },
    },
    {
      ...{ protocol: "udp", from: "10.0.0.2", to: "10.0.0.1", fromPort: 1000, toPort: 53 },
      ...{ answered: false, assured: false, seconds: 29 },
    },
    {
      ...{ protocol: "icmp", from: "10.0.0.1", to: "10.0.0.9", type: 8, code: 0, query: 77 },
      ...{ answered: true, assured: false, seconds: 29 },
    },
  ]);
  const alone = { ...nic, neighbours: new Set<string>() };
  const written = connectionLines(alone, read);
  expect(written).toEqual(Object.values(lines).map((line) => line.replace("-w 5", "-w 7")));
});

test.each([
  ["is not a connection", "conntrack v1.4.7 (conntrack-tools): 3 flow entries have been shown."],
  ["is translated", lines.tcp.replace("-r 10.0.0.2", "-r 10.0.0.3")],
  ["is of a protocol that stays behind", lines.udp.replace("-p udp", "-p 50")],
  ["has no state", lines.tcp.replace("--state ESTABLISHED", "--state NONE")],
  ["is no number", lines.udp.replace("--sport 1000", "--sport x").replace("dst 1000", "dst x")],
])("what %s is left out", (_, line) => {
  expect(parseConnections(line)).toEqual([]);
});

test("a host tells of its guest alone, and not of what that has with a guest that lives here", () => {
  const [tcp, udp, icmp] = parseConnections(Object.values(lines).join("\n"));
  if (!tcp || !udp || !icmp) throw new Error("not parsed");
  const other = { ...tcp, from: "10.0.0.3" };
  expect([tcp, udp, icmp, other].map((one) => belongs(one, nic))).toEqual([true, true, false, false]);
  expect(connectionLines(nic, [icmp, other])).toEqual([]);
  expect(connectionLines(nic, [icmp, tcp])).toEqual([expect.stringContaining(" -w 7 ")]);
});

test("no word of another host becomes a flag", () => {
  const [tcp] = parseConnections(lines.tcp);
  for (const bad of [
    { from: "10.0.0.1 -F" },
    { fromPort: "1 -F" },
    { state: "CLOSE -F" },
    { seconds: 0 },
    { mark: 1 },
  ]) {
    expect(connectionSchema.safeParse({ ...tcp, ...bad }).success).toBe(false);
  }
});
