/**
 * The lab's rules in the machine's firewall: one table of its own that masks the underlay towards the outside, and, where
 * somebody's iptables chain drops what is forwarded (Docker's does, and with br_netfilter that hits even frames between two
 * ports of one bridge), a pair of exceptions in that chain. Both carry the lab's number and go with it.
 */
import * as z from "zod";
import type { Plan } from "./plan.ts";
import { run } from "./run.ts";

/** The one chain of other people's that is touched: a verdict to drop there cannot be undone in a table of one's own. */
const chain = ["ip", "filter", "FORWARD"] as const;

const listing = z.looseObject({
  nftables: z.array(
    z.looseObject({
      chain: z.looseObject({ policy: z.string().optional() }).optional(),
      rule: z.looseObject({ handle: z.int(), comment: z.string().optional() }).optional(),
    }),
  ),
});

/** Idempotent. */
export async function openFirewall(plan: Plan): Promise<void> {
  const { underlay, nftTable } = plan;
  await run("nft", ["-f", "-"], {
    input: `table ip ${nftTable} {}
delete table ip ${nftTable}
table ip ${nftTable} {
  chain outgoing {
    type nat hook postrouting priority srcnat;
    ip saddr ${underlay.cidr} ip daddr != ${underlay.cidr} oifname != "${underlay.bridge}" masquerade
  }
}
`,
  });
  const found = await foreignChain();
  if (found === undefined || found.policy !== "drop") return;
  await removeExceptions(plan);
  for (const direction of ["iifname", "oifname"]) {
    await run("nft", [
      "insert",
      "rule",
      ...chain,
      direction,
      underlay.bridge,
      "counter",
      "accept",
      "comment",
      `"${mark(plan)}"`,
    ]);
  }
}

/** Idempotent. */
export async function closeFirewall(plan: Plan): Promise<void> {
  await removeExceptions(plan);
  await run("nft", ["-f", "-"], { input: `table ip ${plan.nftTable} {}\ndelete table ip ${plan.nftTable}\n` });
}

function mark(plan: Plan): string {
  return plan.nftTable;
}

async function removeExceptions(plan: Plan): Promise<void> {
  const ours = (await foreignChain())?.rules.filter((rule) => rule.comment === mark(plan)) ?? [];
  for (const { handle } of ours) await run("nft", ["delete", "rule", ...chain, "handle", String(handle)]);
}

async function foreignChain(): Promise<
  { policy: string | undefined; rules: { handle: number; comment?: string | undefined }[] } | undefined
> {
  const tables = await run("nft", ["list", "tables"]);
  if (!tables.split("\n").includes(`table ${chain[0]} ${chain[1]}`)) return undefined;
  // The whole table: asking for a chain that is not there is an error, and is not told from others.
  const { nftables } = listing.parse(JSON.parse(await run("nft", ["-j", "-a", "list", "table", chain[0], chain[1]])));
  const found = nftables.find((entry) => entry.chain?.["name"] === chain[2])?.chain;
  if (found === undefined) return undefined;
  const rules = nftables.flatMap((entry) => (entry.rule?.["chain"] === chain[2] ? [entry.rule] : []));
  return { policy: found.policy, rules };
}
