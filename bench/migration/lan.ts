/**
 * The network of the guest that virsh moves: one ordinary bridge here and one on each host, that learn where an address is, as virsh's users
 * have it. This machine is the observer on it, and gives the guest its address.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { run } from "../../lab/run.ts";
import type { LabHost, LabSession } from "../lab-session.ts";

/** On each host. */
export const hostBridge = "rivals";

export interface Lan {
  /** Where the guest's beats are heard. */
  readonly address: string;
  readonly guest: { readonly mac: string; readonly ip: string };
  end(): Promise<void>;
}

export async function layLan(lab: LabSession): Promise<Lan> {
  const { n } = lab.lab.plan;
  const bridge = `vs${n}r`;
  const [address, ip] = [`10.95.${n}.1`, `10.95.${n}.2`];
  const mac = "02:72:69:76:61:6c";
  await run("ip", ["link", "add", bridge, "type", "bridge", "forward_delay", "0", "stp_state", "0"]);
  let dhcp: ChildProcess | undefined;
  const end = async (): Promise<void> => {
    if (dhcp !== undefined && dhcp.exitCode === null) {
      const ended = once(dhcp, "close");
      dhcp.kill("SIGTERM");
      await ended;
    }
    for (const host of lab.hosts) await host.run(["sh", "-c", `ip link del ${hostBridge}; ip link del rivals0; true`]);
    await run("ip", ["link", "del", bridge]);
  };
  try {
    await run("ip", ["address", "add", `${address}/24`, "dev", bridge]);
    await run("ip", ["link", "set", bridge, "up"]);
    for (const host of lab.hosts) await plug(host, bridge, `vs${n}r${host.name.replace(/\D/g, "")}`);
    dhcp = spawn(
      "dnsmasq",
      [
        "--keep-in-foreground",
        "--conf-file=/dev/null",
        "--port=0",
        "--pid-file=",
        "--leasefile-ro",
        "--bind-interfaces",
        `--interface=${bridge}`,
        "--except-interface=lo",
        `--dhcp-range=${ip},static,255.255.255.0,1h`,
        `--dhcp-host=${mac},${ip}`,
      ],
      { stdio: "ignore" },
    );
    return { address, guest: { mac, ip }, end };
  } catch (error) {
    await end();
    throw error;
  }
}

/** A cable from this machine's bridge to the host's. */
async function plug(host: LabHost, bridge: string, port: string): Promise<void> {
  await run("ip", ["link", "add", port, "type", "veth", "peer", "name", "rivals0", "netns", String(host.init)]);
  await run("ip", ["link", "set", port, "master", bridge, "up"]);
  const inside = [
    `link add ${hostBridge} type bridge forward_delay 0 stp_state 0`,
    `link set rivals0 master ${hostBridge} up`,
    `link set ${hostBridge} up`,
  ];
  for (const line of inside) await host.run(["ip", ...line.split(" ")]);
}
