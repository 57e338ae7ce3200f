/**
 * The link between the two hosts, shaped: what one host sends to the other goes through a class of the rate that the bench states, whatever it
 * is (memory, the two Computes' words, virsh's); what goes elsewhere, the beats above all, does not wait behind it.
 */
import type { LabHost } from "../lab-session.ts";

const device = "eth0";

export async function shape(from: LabHost, to: LabHost, mibPerSecond: number): Promise<void> {
  const bits = `${mibPerSecond * 8 * 1_048_576}bit`;
  await unshape(from);
  // A queue as short as a network card's: one of the default length would hold tens of milliseconds.
  const lines = [
    `qdisc add dev ${device} root handle 1: htb default 10 r2q 10000`,
    `class add dev ${device} parent 1: classid 1:10 htb rate 40gbit`,
    `class add dev ${device} parent 1: classid 1:20 htb rate ${bits}`,
    `qdisc add dev ${device} parent 1:20 pfifo limit 100`,
    `filter add dev ${device} parent 1: protocol ip u32 match ip dst ${to.plan.address}/32 flowid 1:20`,
  ];
  for (const line of lines) await from.run(["tc", ...line.split(" ")]);
}

/** No error where nothing is shaped. */
export async function unshape(host: LabHost): Promise<void> {
  await host.run(["sh", "-c", `tc qdisc del dev ${device} root 2>/dev/null || true`]);
}
