/**
 * What the kernel remembers of a guest's connections at its subnet's bridge (a conntrack zone for each subnet): security groups let
 * answers pass by it (firewall/groups.ts). It stays with the host, so what a guest needs of it is read, told to another host and
 * written there by the migration's halves, and forgotten where no guest has the address any more.
 *
 * Nothing is translated at a bridge: an answer's addresses are the question's, turned round. What another host says is checked here
 * for that (`belongs`): only connections of the guest itself, and none with a guest that lives here, of which this host knows better.
 *
 * The kernel writes these facts with each packet; what is read is old at once, and what is there already is not written again.
 */
import * as z from "zod";
import { run } from "../process.ts";

const port = z.int().min(0).max(65_535);
const byte = z.int().min(0).max(255);
const ends = { from: z.ipv4(), to: z.ipv4() };
const seen = {
  /** Something was seen in both directions; and for long enough that the kernel does not throw it away first. */
  answered: z.boolean(),
  assured: z.boolean(),
  /** Until the kernel forgets it, if nothing comes. */
  seconds: z.int().min(1).max(1_000_000),
};
const tcpStates = z.enum([
  "SYN_SENT",
  "SYN_SENT2",
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT",
  "CLOSE_WAIT",
  "LAST_ACK",
  "TIME_WAIT",
  "CLOSE",
]);

/** `from` began it. Others than these protocols are new to another host until the guest says something. */
export const connectionSchema = z.discriminatedUnion("protocol", [
  z.strictObject({ protocol: z.literal("tcp"), ...ends, fromPort: port, toPort: port, state: tcpStates, ...seen }),
  z.strictObject({ protocol: z.literal("udp"), ...ends, fromPort: port, toPort: port, ...seen }),
  z.strictObject({ protocol: z.literal("icmp"), ...ends, type: byte, code: byte, query: port, ...seen }),
]);
export type Connection = z.output<typeof connectionSchema>;

/** Where a NIC's connections are tracked on this host. */
export interface TrackedNic {
  readonly ip: string;
  readonly zone: number;
  /** Addresses of other guests here in the same zone. */
  readonly neighbours: ReadonlySet<string>;
}

/** Of one NIC; the rest stays behind. */
export const mostConnections = 65_536;
const conntrackMs = 20_000;

/** The NIC's own; where they are too many, what was assured first. */
export async function readConnections(nic: TrackedNic): Promise<Connection[]> {
  const asked = ["-s", "-d"].map((side) =>
    run("conntrack", ["-L", "-o", "save", "-w", String(nic.zone), side, nic.ip], { deadlineMs: conntrackMs }),
  );
  const found = parseConnections((await Promise.all(asked)).join("\n"));
  if (found.length <= mostConnections) return found;
  return found.toSorted((a, b) => Number(b.assured) - Number(a.assured)).slice(0, mostConnections);
}

/** What is there already stays as it is; so does what the kernel has no room for. */
export async function writeConnections(nic: TrackedNic, connections: readonly Connection[]): Promise<void> {
  const input = connectionLines(nic, connections);
  if (input.length === 0) return;
  // It opens its standard input by name, which a pipe lets it do, and the socket that Node gives a child does not.
  const load = ["-c", "cat | conntrack --load-file -"];
  await run("sh", load, { input: `${input.join("\n")}\n`, deadlineMs: conntrackMs });
}

/** For `conntrack --load-file`: what belongs to the NIC, and nothing else. */
export function connectionLines(nic: TrackedNic, connections: readonly Connection[]): string[] {
  return connections.filter((one) => belongs(one, nic)).map((one) => addLine(one, nic.zone));
}

/**
 * No guest has the address here any more. What a neighbour has with it is the neighbour's, and put back at once: all that an address has
 * goes in one look through the kernel's table, and one by one each would need a look of its own.
 */
export async function forgetConnections(nic: TrackedNic): Promise<void> {
  const kept = (await readConnections(nic)).filter((one) => !belongs(one, nic));
  for (const side of ["-s", "-d"]) {
    // Its status says whether there was any.
    await run("sh", ["-c", `conntrack -D -w ${nic.zone} ${side} ${nic.ip} || true`], { deadlineMs: conntrackMs });
  }
  await writeConnections({ ...nic, neighbours: new Set() }, kept);
}

/** It is the guest's, and not one with another guest that lives here. */
export function belongs({ from, to }: Connection, { ip, neighbours }: TrackedNic): boolean {
  const other = from === ip ? to : to === ip ? from : undefined;
  return other !== undefined && !neighbours.has(other);
}

/** By which connection it is, whatever became of it. */
export function connectionKey(one: Connection): string {
  const ports = one.protocol === "icmp" ? [one.type, one.code, one.query] : [one.fromPort, one.toPort];
  return [one.protocol, one.from, one.to, ...ports].join(" ");
}

/** What `conntrack -o save` has printed: a flag and its value in turn. What is not as it is at a bridge is left out. */
export function parseConnections(text: string): Connection[] {
  return text.split("\n").flatMap((line) => {
    const words = line.split(" ");
    if (words[0] !== "-A") return [];
    const flags = new Map<string, string>();
    for (let at = 1; at + 1 < words.length; at += 2) flags.set(words[at] ?? "", words[at + 1] ?? "");
    return parseFlags(flags) ?? [];
  });
}

function parseFlags(flags: ReadonlyMap<string, string>): Connection | undefined {
  const number = (flag: string): number => Number(flags.get(flag) ?? Number.NaN);
  const protocol = flags.get("-p");
  const status = (flags.get("-u") ?? "").split(",");
  const common = {
    protocol,
    from: flags.get("-s"),
    to: flags.get("-d"),
    answered: status.includes("SEEN_REPLY"),
    assured: status.includes("ASSURED"),
    seconds: number("-t"),
  };
  const turned =
    flags.get("-r") === common.to &&
    flags.get("-q") === common.from &&
    flags.get("--reply-port-src") === flags.get("--dport") &&
    flags.get("--reply-port-dst") === flags.get("--sport");
  if (!turned) return undefined;
  const parsed = connectionSchema.safeParse(
    protocol === "icmp"
      ? { ...common, type: number("--icmp-type"), code: number("--icmp-code"), query: number("--icmp-id") }
      : {
          ...common,
          ...{ fromPort: number("--sport"), toPort: number("--dport") },
          ...(protocol === "tcp" ? { state: flags.get("--state") } : {}),
        },
  );
  return parsed.data;
}

/**
 * Word for word as conntrack prints it: by another order of flags it makes of a ping what the kernel refuses, and at the first line that is
 * refused it leaves all that follow.
 */
function addLine(one: Connection, zone: number): string {
  const { protocol, from, to, answered, assured, seconds } = one;
  const status = [...(answered ? ["SEEN_REPLY"] : []), ...(assured ? ["ASSURED"] : [])].join(",") || "UNSET";
  const common = `-A -t ${seconds} -u ${status} -w ${zone} -s ${from} -d ${to} -r ${to} -q ${from} -p ${protocol}`;
  if (one.protocol === "icmp")
    return `${common} --icmp-type ${one.type} --icmp-code ${one.code} --icmp-id ${one.query}`;
  const { fromPort, toPort } = one;
  const ports = `--sport ${fromPort} --dport ${toPort} --reply-port-src ${toPort} --reply-port-dst ${fromPort}`;
  return `${common} ${ports}${one.protocol === "tcp" ? ` --state ${one.state}` : ""}`;
}
