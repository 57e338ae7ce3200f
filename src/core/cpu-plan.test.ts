import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  dedicatedPlaces,
  planCpus,
  sharedPlaces,
  type Allotment,
  type CpuDemand,
  type HostPlaces,
} from "./cpu-plan.ts";
import { pageMiB, type PageSize } from "./machine.ts";

function hostOf(nodes: number, coresPerNode: number, threads: number, pagesMiB: readonly number[] = []): HostPlaces {
  const cores = nodes * coresPerNode;
  return {
    // As Linux numbers them: all first threads, then all second ones.
    places: Array.from({ length: cores * threads }, (_, cpu) => ({
      place: cpu,
      cpu,
      core: cpu % cores,
      node: Math.floor((cpu % cores) / coresPerNode),
    })),
    threadsPerCore: threads,
    reservedCores: 1,
    hugepages: pagesMiB.map((memoryMiB, node) => ({ node, size: "2M", memoryMiB })),
  };
}

const hosts = fc
  .record({
    nodes: fc.integer({ min: 1, max: 4 }),
    cores: fc.integer({ min: 1, max: 6 }),
    threads: fc.constantFrom(1, 2),
    pages: fc.array(
      fc.nat(64).map((n) => n * 2),
      { minLength: 4, maxLength: 4 },
    ),
  })
  .map(({ nodes, cores, threads, pages }) => hostOf(nodes, cores, threads, pages.slice(0, nodes)));

const demands = fc.record<CpuDemand>({
  vcpus: fc.integer({ min: 1, max: 12 }),
  threadsPerCore: fc.constantFrom(null, 1, 2),
  memoryMiB: fc.integer({ min: 4, max: 128 }),
  hugepages: fc.constantFrom<(PageSize | null)[]>(null, "2M"),
});

/** Instances come and go: `drop` names one of those that are there. */
const lives = fc.array(fc.record({ demand: demands, drop: fc.option(fc.nat(9)) }), { maxLength: 12 });

describe("processors of dedicated instances", () => {
  it("are held by one at most, core by core, within the pages there are, and leave the host its own", () => {
    fc.assert(
      fc.property(hosts, lives, (host, life) => {
        const held: Allotment[] = [];
        for (const { demand, drop } of life) {
          if (drop !== null) held.splice(drop, 1);
          const plan = planCpus(host, held, demand);
          if ("refused" in plan) continue;
          held.push(plan.allotment);
          const { shares } = plan.allotment;
          const vcpus = shares.flatMap((share) => share.vcpus);
          expect(vcpus).toHaveLength(demand.vcpus);
          expect(new Set(vcpus).size).toBe(demand.vcpus);
          expect(shares.reduce((sum, { memoryMiB }) => sum + memoryMiB, 0)).toBeGreaterThanOrEqual(demand.memoryMiB);
          for (const share of shares) {
            expect(share.vcpus.length).toBeGreaterThan(0);
            expect(share.held).toEqual(expect.arrayContaining([...share.vcpus]));
            for (const place of share.held) expect(host.places[place]?.node).toBe(share.node);
          }
        }
        const all = held.flatMap(({ shares }) => shares.flatMap((share) => share.held));
        expect(new Set(all).size).toBe(all.length);
        // Whoever holds a thread holds its siblings; core 0 is the host's.
        for (const { shares } of held) {
          const mine = new Set(shares.flatMap((share) => share.held));
          for (const place of mine) {
            const core = host.places[place]?.core;
            expect(core).not.toBe(0);
            const siblings = host.places.filter((other) => other.core === core);
            expect(siblings.every((other) => mine.has(other.place))).toBe(true);
          }
        }
        for (const { node, size, memoryMiB } of host.hugepages) {
          const taken = held
            .filter(({ hugepages }) => hugepages === size)
            .flatMap(({ shares }) => shares.filter((share) => share.node === node));
          expect(taken.every((share) => share.memoryMiB % pageMiB[size] === 0)).toBe(true);
          expect(taken.reduce((sum, share) => sum + share.memoryMiB, 0)).toBeLessThanOrEqual(memoryMiB);
        }
        const pool = sharedPlaces(host, held).map(({ place }) => place);
        expect(pool.length + all.length).toBe(host.places.length);
        expect(pool).toContain(0);
      }),
    );
  });

  it("are refused for want of cores only when there are too few, so that VStation can count", () => {
    fc.assert(
      fc.property(hosts, demands, (host, demand) => {
        const plain = { ...demand, hugepages: null };
        const threads = Math.min(host.threadsPerCore, demand.threadsPerCore ?? 2);
        const cores = Math.ceil(demand.vcpus / threads);
        const possible = cores * host.threadsPerCore <= dedicatedPlaces(host);
        expect("refused" in planCpus(host, [], plain)).toBe(!possible);
      }),
    );
  });

  const demand: CpuDemand = { vcpus: 4, threadsPerCore: null, memoryMiB: 64, hugepages: null };
  const shares = (host: HostPlaces, others: Allotment[], asked: CpuDemand) => {
    const plan = planCpus(host, others, asked);
    if ("refused" in plan) throw new Error(plan.refused);
    return plan.allotment.shares;
  };

  it("are siblings side by side, and with one thread per core their siblings idle", () => {
    const host = hostOf(1, 4, 2);
    expect(shares(host, [], demand)).toEqual([{ node: 0, held: [1, 5, 2, 6], vcpus: [1, 5, 2, 6], memoryMiB: 64 }]);
    const single = { ...demand, vcpus: 2, threadsPerCore: 1 };
    expect(shares(host, [], single)).toEqual([{ node: 0, held: [1, 5, 2, 6], vcpus: [1, 2], memoryMiB: 64 }]);
  });

  it("lie in one node if one has them, the fuller one first, and else evenly in as few as can be", () => {
    const host = hostOf(2, 4, 1, [64, 64]);
    // Node 0 has three cores to give, node 1 has four.
    expect(shares(host, [], { ...demand, vcpus: 3 }).map(({ node }) => node)).toEqual([0]);
    expect(shares(host, [], demand).map(({ node }) => node)).toEqual([1]);
    const spanning = shares(host, [], { ...demand, vcpus: 6, memoryMiB: 100, hugepages: "2M" });
    expect(spanning.map(({ node, vcpus, memoryMiB }) => [node, vcpus.length, memoryMiB])).toEqual([
      [0, 3, 50],
      [1, 3, 50],
    ]);
  });

  it("say whether cores or pages are missing", () => {
    const host = hostOf(1, 4, 1, [32]);
    expect(planCpus(host, [], demand)).toEqual({ refused: "cpus" });
    expect(planCpus(host, [], { ...demand, vcpus: 2, hugepages: "2M" })).toEqual({ refused: "hugepages" });
    expect(planCpus(host, [], { ...demand, vcpus: 2, hugepages: "1G" })).toEqual({ refused: "hugepages" });
  });
});
