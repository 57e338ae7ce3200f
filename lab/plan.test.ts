import { describe, expect, it } from "vitest";
import { firstChoice, hostPlanOf, isPort, maxHosts, nestedPlanOf, overlaps, planCount, planOf } from "./plan.ts";

const plans = Array.from({ length: planCount }, (_, n) => planOf(n));

describe("plans", () => {
  it("share no address range, name or number with each other", () => {
    const ranges = plans.flatMap((plan) => [plan.underlay.cidr, plan.guests.cidr]);
    const clashes = ranges.flatMap((a, i) => ranges.slice(i + 1).filter((b) => overlaps(a, b)));
    expect(clashes).toEqual([]);
    const names = plans.flatMap((plan) => [
      plan.underlay.bridge,
      plan.guests.edge.device,
      plan.nftTable,
      plan.underlay.mac,
    ]);
    expect(new Set(names).size).toBe(names.length);
  });

  it("keep link names within the kernel's 15 characters and addresses within the underlay", () => {
    for (const plan of plans) {
      const last = hostPlanOf(plan, maxHosts);
      for (const name of [plan.underlay.bridge, plan.guests.edge.device, last.port])
        expect(name.length).toBeLessThan(16);
      expect(overlaps(plan.underlay.cidr, last.address)).toBe(true);
      expect(last.address).toBe(`10.96.${plan.n}.74`);
    }
  });

  it("know the cables of their own hosts", () => {
    const plan = planOf(4);
    const own = [hostPlanOf(plan, 1), hostPlanOf(plan, maxHosts), nestedPlanOf(plan, 2)].map(({ port }) => port);
    const links = [...own, plan.underlay.bridge, plan.guests.edge.device, hostPlanOf(planOf(44), 1).port, "eth0"];
    expect(links.filter((link) => isPort(plan, link))).toEqual(own);
  });

  it("start their search at the same place for the same home, and within range", () => {
    expect(firstChoice("/srv/lab")).toBe(firstChoice("/srv/lab"));
    const spread = new Set(Array.from({ length: 500 }, (_, i) => firstChoice(`/srv/lab-${i}`)));
    expect([...spread].every((n) => n >= 0 && n < planCount)).toBe(true);
    expect(spread.size).toBeGreaterThan(planCount / 2);
  });
});

describe("overlaps", () => {
  it.each([
    ["10.96.3.0/24", "10.96.3.0/24", true],
    ["10.96.3.0/24", "10.96.0.0/16", true],
    ["10.96.0.0/16", "10.96.3.7", true],
    ["10.96.3.0/24", "10.96.4.0/24", false],
    ["10.128.0.0/16", "10.0.0.0/8", true],
    // A default route leads everywhere and takes nothing.
    ["10.96.3.0/24", "default", false],
    ["10.96.3.0/24", "0.0.0.0/0", false],
    ["172.16.0.0/12", "172.31.255.255", true],
  ])("%s and %s: %s", (a, b, expected) => {
    expect(overlaps(a, b)).toBe(expected);
    expect(overlaps(b, a)).toBe(expected);
  });
});
