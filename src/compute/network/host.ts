/** What the host itself has to offer for guests' networks: settings of its kernel, and its name servers. */
import { readFile, writeFile } from "node:fs/promises";
import { Failure, wrap } from "../../lib/errors.ts";
import { exists } from "../../lib/files.ts";
import { run } from "../process.ts";

/** Lets the kernel pass packets on, and frames of our bridges through the firewall. */
export async function prepareKernel(): Promise<void> {
  await setting("net/ipv4/ip_forward", "letting the kernel forward packets");
  // Where connection tracking is a module, its settings come with it.
  if (!(await exists("/proc/sys/net/netfilter"))) await run("modprobe", ["nf_conntrack"]).catch(() => undefined);
  // A guest that has moved away and comes back brings connections whose windows have moved on without this host: by the book they are
  // invalid, and dropped.
  await setting("net/netfilter/nf_conntrack_tcp_be_liberal", "keeping connections of guests that move");
  if (await exists(hooks)) return;
  await run("modprobe", ["br_netfilter"]).catch(() => undefined);
  if (await exists(hooks)) return;
  // Without it security groups would be words: better no guest than one that only seems to be guarded.
  throw new Failure("unavailable", "BridgeFilterMissing", bridgeFilterMissing);
}
const hooks = "/proc/sys/net/bridge";

async function setting(name: string, what: string): Promise<void> {
  try {
    await writeFile(`/proc/sys/${name}`, "1");
  } catch (error) {
    throw wrap(`${what} (${name.replaceAll("/", ".")})`, error);
  }
}

export const bridgeFilterMissing = "the kernel cannot filter what crosses a bridge; give it the module br_netfilter";

/** Could the kernel filter what crosses a bridge, if it had to? */
export async function canFilterBridges(): Promise<boolean> {
  if (await exists(hooks)) return true;
  return run("modprobe", ["--dry-run", "br_netfilter"]).then(
    () => true,
    () => false,
  );
}

/** The kernel waits up to 0.8 s before it answers for somebody else's address. */
export async function answerAtOnce(device: string): Promise<void> {
  await writeFile(`/proc/sys/net/ipv4/neigh/${device}/proxy_delay`, "0");
}

/** The host's name servers, but for those on its loopback: no namespace reaches them. */
export async function readResolvers(): Promise<string[]> {
  // systemd-resolved writes the real servers here, and itself into /etc.
  for (const file of ["/run/systemd/resolve/resolv.conf", "/etc/resolv.conf"]) {
    const text = await readFile(file, "utf8").catch(() => undefined);
    if (text === undefined) continue;
    const servers = [...text.matchAll(/^\s*nameserver\s+(\d+\.\d+\.\d+\.\d+)\s*$/gm)].flatMap(
      ([, server]) => server ?? [],
    );
    return servers.filter((server) => !server.startsWith("127.")).slice(0, 3);
  }
  return [];
}
