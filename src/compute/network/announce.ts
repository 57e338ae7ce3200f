/**
 * Tells the underlay that an address is here now: gratuitous ARP, so that who has it at another host in mind does not send there
 * until that entry ages. A raw frame, which Node cannot send; perl is on every Debian (perl-base is essential).
 */
import { ipToNumber } from "../../core/addresses.ts";
import { run } from "../process.ts";

const script = [
  "use Socket;",
  'socket(my $s, 17, SOCK_RAW, 0x0608) or die "socket: $!";',
  "my $index = shift;",
  "my $to = pack('SnlSCCa8', 17, 0x0806, $index, 0, 0, 6, \"\\xff\" x 6);",
  'for (@ARGV) { defined send($s, pack("H*", $_), 0, $to) or die "send: $!" }',
].join("\n");

/** `device`: its index and MAC. */
export async function announce(device: { index: number; mac: string }, addresses: readonly string[]): Promise<void> {
  const frames = addresses.map((address) => gratuitousArp(device.mac, address));
  if (frames.length > 0) await run("perl", ["-e", script, String(device.index), ...frames]);
}

/** The frame in hex: "ADDRESS is at MAC", asked of everybody as a question about itself, which updates who knows it already. */
export function gratuitousArp(mac: string, address: string): string {
  const from = mac.replaceAll(":", "");
  const ip = ipToNumber(address).toString(16).padStart(8, "0");
  return `${"f".repeat(12)}${from}08060001080006040001${from}${ip}${"0".repeat(12)}${ip}`;
}
