import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SecurityRule, WantedSecurityGroup, WantedSubnet, WantedVpc } from "../../../api/agent.ts";
import type { InstanceId, SecurityGroupId, SubnetId, VpcId } from "../../../lib/ids.ts";
import { planNetwork, type GuestNic, type PlanInput } from "../plan.ts";
import { hostTable } from "./host.ts";
import { routerTable } from "./router.ts";
import { changeTable, mapOf, setOf, wholeTable, type NftTable } from "./table.ts";

const vpc: WantedVpc = { id: "vpc-aaaa1111" as VpcId, cidrs: ["10.1.0.0/16"], domain: "z.internal" };
const subnet: WantedSubnet = {
  id: "subnet-aaaa1111" as SubnetId,
  vpcId: vpc.id,
  cidr: "10.1.1.0/24",
  gateway: "10.1.1.1",
  gatewayMac: "02:00:00:00:00:01",
  vni: 7,
  mtu: 1450,
  dns: [],
  egress: "none",
};
const rule = (rest: Partial<SecurityRule>): SecurityRule => ({
  action: "accept",
  protocol: "all",
  ports: null,
  peer: { cidr: "0.0.0.0/0" },
  ...rest,
});
const other = "sg-other001" as SecurityGroupId;
const group: WantedSecurityGroup = {
  id: "sg-web00001" as SecurityGroupId,
  ingress: [
    rule({ action: "drop", peer: { cidr: "192.0.2.0/24" } }),
    rule({
      protocol: "tcp",
      ports: [
        { from: 90, to: 100 },
        { from: 80, to: 80 },
        { from: 95, to: 110 },
        { from: 81, to: 82 },
      ],
    }),
    rule({ protocol: "icmp", peer: { groupId: other } }),
  ],
  egress: [rule({})],
};
const nic = (ip: string, groups: SecurityGroupId[]): GuestNic => ({
  instance: `ins-aaaa00${ip.slice(-2)}` as InstanceId,
  index: 0,
  tap: `t0-aaaa00${ip.slice(-2)}`,
  mac: "52:54:00:00:00:10",
  ip,
  subnetId: subnet.id,
  groups,
  elasticIp: null,
  place: { is: "here" },
});
const input: PlanInput = {
  network: { vpcs: [vpc], subnets: [subnet], securityGroups: [] },
  peers: [],
  nics: [],
  slots: new Map<string, number>([[subnet.id, 2]]),
  underlay: { address: "192.0.2.1", device: "eth0" },
};
const plan = planNetwork(input);
const tableOf = (nics: GuestNic[], groups = [group]): NftTable => hostTable({ plan, groups, peers: [], nics });

describe("security groups", () => {
  const table = tableOf([nic("10.1.1.10", [group.id]), nic("10.1.1.11", [other])]);

  test("are asked in the order of the NIC, rule by rule, and what nothing decides is dropped", () => {
    expect(table.chains.get("nic.in.aaaa1111.web00001")?.rules).toEqual([
      "ct state vmap { invalid : drop, related : accept }",
      "ct state established ct direction reply accept",
      "jump in.aaaa1111.web00001",
      "drop",
    ]);
    expect(table.chains.get("in.aaaa1111.web00001")?.rules).toEqual([
      "ip saddr 192.0.2.0/24 drop",
      "tcp dport { 80-82, 90-110 } accept",
      "ip saddr @members.aaaa1111.other001 meta l4proto icmp accept",
    ]);
    expect([...(table.sets.get("members.aaaa1111.other001")?.elements.keys() ?? [])]).toEqual(["10.1.1.11"]);
  });

  test("admit nothing where none is known", () => {
    expect(table.chains.get("nic.in.aaaa1111.other001")?.rules.at(-1)).toBe("drop");
    expect(table.chains.get("nic.in.aaaa1111.other001")?.rules.some((each) => each.startsWith("jump"))).toBe(false);
  });

  test("a guest that comes costs elements, a rule that changes costs its own chain", () => {
    const one = tableOf([nic("10.1.1.10", [group.id])]);
    expect(changeTable(one, tableOf([nic("10.1.1.10", [group.id]), nic("10.1.1.12", [group.id])]))).toBe(
      `add element inet vstation senders { "br-aaaa1111" . 10.1.1.12 : jump nic.out.aaaa1111.web00001 }
add element inet vstation receivers { "br-aaaa1111" . 10.1.1.12 : jump nic.in.aaaa1111.web00001 }
`,
    );
    const closed = { ...group, ingress: [] };
    expect(changeTable(one, tableOf([nic("10.1.1.10", [group.id])], [closed]))).toBe(
      "flush chain inet vstation in.aaaa1111.web00001\ndelete set inet vstation members.aaaa1111.other001\n",
    );
    expect(changeTable(one, one)).toBe("");
  });
});

test("a router lets out what comes from a subnet with a way out, and elastic addresses, and of its other subnets nothing", () => {
  const open: WantedSubnet = { ...subnet, id: "subnet-bbbb2222" as SubnetId, cidr: "10.1.2.0/24", egress: "host" };
  const routerOf = (...subnets: WantedSubnet[]): NftTable => {
    const [router] = planNetwork({ ...input, network: { ...input.network, subnets } }).vpcs.map(routerTable);
    if (router === undefined) throw new Error("no router");
    return router;
  };
  const router = routerOf(subnet, open);
  expect(router.chains.get("forward")?.rules.at(-1)).toBe("iifname != @routed ip saddr != @elastic drop");
  expect([...(router.sets.get("routed")?.elements.keys() ?? [])]).toEqual(['"gw-bbbb2222"']);
  expect(changeTable(router, routerOf({ ...subnet, egress: "host" }, { ...open, egress: "none" }))).toBe(
    `delete element inet vstation routed { "gw-bbbb2222" }
add element inet vstation routed { "gw-aaaa1111" }
`,
  );
});

describe("changeTable", () => {
  /** What an nftables that refuses what is in use, or not there, would hold after a script. */
  function run(script: string, table: NftTable): void {
    const chains = new Map([...table.chains].map(([name, { rules }]) => [name, [...rules]]));
    const sets = new Map([...table.sets].map(([name, { elements }]) => [name, new Map(elements)]));
    const uses = (what: string): boolean =>
      [...chains.values()].some((rules) => rules.some((text) => text.endsWith(what))) ||
      [...sets.values()].some((elements) => [...elements.values()].some((value) => value?.endsWith(what)));
    for (const line of script.split("\n").filter(Boolean)) {
      const [verb, kind, , , name = "", ...rest] = line.split(" ");
      const text = rest.join(" ");
      const elements = text.slice(2, -2).split(", ");
      if (verb === "add" && kind === "chain") chains.set(name, []);
      else if (verb === "add" && (kind === "set" || kind === "map")) sets.set(name, new Map());
      else if (verb === "flush") chains.set(name, []);
      else if (verb === "add" && kind === "rule") {
        if (!chains.has(text.split(" ").at(-1) ?? "") && !sets.has(text.split("@").at(-1) ?? "")) throw new Error(line);
        chains.get(name)?.push(text);
      } else if (verb === "delete" && kind === "element") {
        for (const key of elements) if (sets.get(name)?.delete(key) !== true) throw new Error(line);
      } else if (verb === "add" && kind === "element") {
        for (const each of elements) {
          const [key = "", value] = each.split(" : ");
          if (value !== undefined && !chains.has(value.slice(5))) throw new Error(line);
          sets.get(name)?.set(key, value ?? null);
        }
      } else if (verb === "delete") {
        if (uses(` ${name}`) || uses(`@${name}`)) throw new Error(line);
        if (!(kind === "chain" ? chains : sets).delete(name)) throw new Error(line);
      } else throw new Error(line);
    }
    state = { chains, sets };
  }
  let state: { chains: Map<string, string[]>; sets: Map<string, Map<string, string | null>> };

  const names = fc.uniqueArray(fc.constantFrom("a", "b", "c", "d"), { maxLength: 4 });
  const tables = fc
    .record({ chains: names, sets: names, picks: fc.infiniteStream(fc.nat({ max: 1000 })) })
    .map(({ chains, sets, picks }): NftTable => {
      const pick = (from: readonly string[]): string[] => from.filter(() => (picks.next().value as number) % 2 === 0);
      const set = sets.map((name) => [`s${name}`, setOf("ipv4_addr", pick(["1", "2", "3"]))] as const);
      const verdicts = pick(["1", "2", "3"]).flatMap((key) => {
        const to = chains[(picks.next().value as number) % Math.max(1, chains.length)];
        return to === undefined ? [] : [[key, `jump c${to}`] as const];
      });
      return {
        family: "inet",
        name: "t",
        sets: new Map([...set, ["verdicts", mapOf("ipv4_addr : verdict", verdicts)]]),
        chains: new Map(
          chains.map((name, at) => [
            `c${name}`,
            {
              hook: null,
              rules: [
                ...pick(sets).map((each) => `drop @s${each}`),
                ...pick(chains.slice(at + 1)).map((to) => `jump c${to}`),
              ],
            },
          ]),
        ),
      };
    });

  test("leads from any table to any other, by steps of which none names what is not there or takes away what is used", () => {
    fc.assert(
      fc.property(tables, tables, (from, to) => {
        run(changeTable(from, to), from);
        expect(state.chains).toEqual(new Map([...to.chains].map(([name, { rules }]) => [name, rules])));
        expect(state.sets).toEqual(new Map([...to.sets].map(([name, { elements }]) => [name, elements])));
      }),
    );
  });

  test("replaces the whole where a hook changed", () => {
    const table = (hook: string): NftTable => ({
      family: "inet",
      name: "t",
      sets: new Map(),
      chains: new Map([["c", { hook, rules: [] }]]),
    });
    expect(
      changeTable(table("type filter hook input priority 0 ;"), table("type filter hook input priority 1 ;")),
    ).toBe(wholeTable(table("type filter hook input priority 1 ;")));
  });
});
