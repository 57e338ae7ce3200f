import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { GroupId, HostId } from "../lib/ids.ts";
import { plainPromise, type PageSize } from "./machine.ts";
import {
  addRoom,
  choose,
  emptyRoom,
  fits,
  hasRoom,
  roomOf,
  type Capacity,
  type PlacementHost,
  type Room,
} from "./placement.ts";

describe("placement", () => {
  const room = fc.record<Room>({
    vcpus: fc.nat(64),
    dedicated: fc.nat(16),
    memoryMiB: fc.nat(65_536),
    pages2MiB: fc.nat(4_096),
    pages1GiB: fc.constantFrom(0, 1_024),
    diskGiB: fc.nat(1_000),
  });
  const capacities = fc
    .tuple(room, fc.integer({ min: 1, max: 4 }))
    .map(([offered, overcommit]) => ({ ...offered, overcommit }));
  const hosts = fc.array(
    fc.record({
      capacity: fc.option(capacities, { freq: 8 }),
      used: room,
      open: fc.boolean(),
      members: fc.nat(3),
      zone: fc.constantFrom("z", "z", "y", null),
    }),
    { maxLength: 12 },
  );
  const group = { id: "ps-aaaaaaaa" as GroupId, affinity: 2 };

  it("gives only hosts that may and can, and gives one whenever there is one", () => {
    fc.assert(
      fc.property(hosts, room, fc.boolean(), (rows, ask, grouped) => {
        const all: PlacementHost[] = rows.map((row, index) => ({
          ...row,
          id: `host-${index}` as HostId,
          members: () => row.members,
        }));
        const not = [`host-0` as HostId];
        const choice = choose(all, { zone: "z", room: ask, group: grouped ? group : null, not });
        const able = all.filter(
          (host) =>
            host.open &&
            host.zone === "z" &&
            host.id !== "host-0" &&
            host.capacity !== null &&
            hasRoom(host.capacity, host.used, ask) &&
            (!grouped || host.members(group.id) < group.affinity),
        );
        expect("host" in choice ? able.map(({ id }) => id).includes(choice.host) : able.length === 0).toBe(true);
        // The order in which hosts are looked at decides nothing.
        expect(choose(all.toReversed(), { zone: "z", room: ask, group: grouped ? group : null, not })).toEqual(choice);
      }),
    );
  });

  it("tells apart no host, what no host could ever take, what fits nowhere now, and what only its group forbids", () => {
    const offered: Capacity = { ...emptyRoom, vcpus: 4, memoryMiB: 4096, diskGiB: 100, overcommit: 1 };
    const host = (used: Room, members = 0, capacity: Capacity | null = offered): PlacementHost => ({
      id: "host-a" as HostId,
      zone: "z",
      open: capacity !== null,
      capacity,
      used,
      members: () => members,
    });
    const none = emptyRoom;
    const ask = { zone: "z", room: { ...emptyRoom, vcpus: 2, memoryMiB: 1024, diskGiB: 1 }, group: null, not: [] };
    const large = { ...ask, room: { ...ask.room, vcpus: 5 } };
    expect(choose([host(none)], large)).toEqual({ refused: "type_too_large" });
    // Of a host that has not said what it has nobody can tell that it is too small.
    expect(choose([host(none), host(none, 0, null)], large)).toEqual({ refused: "no_room" });
    expect(choose([{ ...host(none), zone: null }], large)).toEqual({ refused: "no_host" });
    expect(choose([host({ ...none, vcpus: 3 })], ask)).toEqual({ refused: "no_room" });
    expect(choose([host(none, 2)], { ...ask, group })).toEqual({ refused: "group" });
    expect(choose([host(none)], ask)).toEqual({ host: "host-a" });
  });

  it("prefers the host that is left fuller", () => {
    const capacity: Capacity = { ...emptyRoom, vcpus: 8, memoryMiB: 8192, diskGiB: 100, overcommit: 1 };
    const host = (id: string, vcpus: number): PlacementHost => ({
      id: id as HostId,
      zone: "z",
      open: true,
      capacity,
      used: { ...emptyRoom, vcpus, memoryMiB: vcpus * 1024 },
      members: () => 0,
    });
    const ask = { zone: "z", room: { ...emptyRoom, vcpus: 1, memoryMiB: 1024, diskGiB: 1 }, group: null, not: [] };
    expect(choose([host("host-a", 1), host("host-b", 5), host("host-c", 3)], ask)).toEqual({ host: "host-b" });
  });

  it("counts how many more would fit", () => {
    const asks = fc.tuple(
      fc.integer({ min: 1, max: 8 }),
      fc.boolean(),
      fc.constantFrom<(PageSize | null)[]>(null, "2M"),
    );
    fc.assert(
      fc.property(capacities, room, asks, (capacity, used, [vcpus, dedicated, hugepages]) => {
        const cpu = dedicated ? "dedicated" : "shared";
        const ask = roomOf({ vcpus, memoryMiB: vcpus * 1024, diskGiB: 1 }, { ...plainPromise, cpu, hugepages });
        const count = fits(capacity, used, ask);
        expect(count === 0 || hasRoom(capacity, addRoom(used, ask, count - 1), ask)).toBe(true);
        expect(hasRoom(capacity, addRoom(used, ask, count), ask)).toBe(false);
      }),
    );
  });

  it("gives no processor to one alone that others share, and none that is somebody's own to share", () => {
    const capacity: Capacity = {
      ...emptyRoom,
      vcpus: 32,
      dedicated: 7,
      memoryMiB: 64_000,
      diskGiB: 100,
      overcommit: 4,
    };
    const own = { ...emptyRoom, dedicated: 4 };
    const shared = { ...emptyRoom, vcpus: 20 };
    expect(hasRoom(capacity, own, { ...emptyRoom, vcpus: 16 })).toBe(true);
    expect(hasRoom(capacity, own, { ...emptyRoom, vcpus: 17 })).toBe(false);
    expect(hasRoom(capacity, shared, { ...emptyRoom, dedicated: 3 })).toBe(true);
    expect(hasRoom(capacity, shared, own)).toBe(false);
    expect(hasRoom(capacity, emptyRoom, { ...emptyRoom, dedicated: 8 })).toBe(false);
  });
});
