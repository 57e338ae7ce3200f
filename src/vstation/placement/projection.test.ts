/** What a claim took comes back when nothing comes of it, and is not counted twice once SQL knows of it; and which hosts are on their way. */
import { describe, expect, it } from "vitest";
import { emptyRoom } from "../../core/placement.ts";
import { newId, type AccountId, type GroupId, type HostId, type InstanceId } from "../../lib/ids.ts";
import type { HostRead } from "../store/hosts.ts";
import type { HostRow } from "../store/schema.ts";
import { AddressBook } from "./addresses.ts";
import { Projection, type Claim } from "./projection.ts";

/** One host with 100 GiB, of which SQL knows so much to be data disks'; or one of which something else is known. */
function host(dataDiskGiB: number, odd: Partial<HostRow> = {}, connected = true): HostRead[] {
  const inventory = { cores: 64, memoryMiB: 262_144, diskGiB: 100 };
  const row = {
    id: "host-one00001",
    zone: "z",
    certificate_serial: "1",
    cordoned: false,
    removed_at: null,
    readiness: { checks: [] },
    inventory,
    ...odd,
  };
  return [{ row, connected, dataDiskGiB, use: { ...emptyRoom, instances: 0 } } as unknown as HostRead];
}
const claim = (dataDiskGiB: number): Claim => ({
  id: newId("instance"),
  accountId: "acc-one00001" as AccountId,
  zone: "z",
  room: { ...emptyRoom, vcpus: 1, memoryMiB: 1024, diskGiB: 10 },
  dataDiskGiB,
  group: null,
  not: [] as readonly HostId[],
});
const fits = (projection: Projection, one: Claim): InstanceId | undefined =>
  "host" in projection.claim(one) ? one.id : undefined;

it("gives back what a claim took for data disks when it is dropped", () => {
  const projection = new Projection(new AddressBook([]), host(0), []);
  for (let times = 0; times < 5; times++) {
    const id = fits(projection, claim(90));
    expect(id).toBeDefined();
    expect(fits(projection, claim(0))).toBeUndefined();
    projection.drop(id as InstanceId);
  }
});

it("leaves data disks to SQL from when the hosts were read again", () => {
  const projection = new Projection(new AddressBook([]), host(0), []);
  const id = fits(projection, claim(50));
  projection.updateHosts(host(50));
  expect(fits(projection, claim(31))).toBeUndefined();
  // Its disks are kept when the instance goes, so their room stays taken.
  projection.drop(id as InstanceId);
  expect(fits(projection, claim(41))).toBeUndefined();
  expect(fits(projection, claim(40))).toBeDefined();
});

it("counts a host that has joined among those that may have room, until it has said that it has not", () => {
  const { room } = claim(0);
  const huge = { ...room, vcpus: 65 };
  const projection = new Projection(new AddressBook([]), [], []);
  expect(projection.claim(claim(0))).toEqual({ refused: "no_host" });
  const unheard = host(0, { inventory: null, readiness: null }, false);
  expect(projection.updateHosts(unheard)).toBe(true);
  expect(projection.claim({ ...claim(0), room: huge })).toEqual({ refused: "no_room" });
  expect(projection.away("z", huge)).toBe(1);
  projection.updateHosts(host(0));
  expect(projection.claim({ ...claim(0), room: huge })).toEqual({ refused: "type_too_large" });
  expect(projection.away("z", huge)).toBe(0);
  expect(fits(projection, claim(0))).toBeDefined();
});

it("tells of each joining once, and of a host that was taken out as of none", () => {
  const projection = new Projection(new AddressBook([]), host(0), []);
  expect(projection.updateHosts(host(0, {}, false))).toBe(false);
  expect(projection.updateHosts(host(0, { certificate_serial: "2" }))).toBe(true);
  expect(projection.updateHosts(host(0, { certificate_serial: "2" }))).toBe(false);
  expect(projection.updateHosts(host(0, { removed_at: new Date(), certificate_serial: "2" }, false))).toBe(false);
  expect(projection.claim(claim(0))).toEqual({ refused: "no_host" });
  expect(projection.away("z", claim(0).room)).toBe(0);
  expect(projection.updateHosts(host(0, { certificate_serial: "3" }, false))).toBe(true);
});

describe("a move", () => {
  const two = (): Projection =>
    new Projection(new AddressBook([]), [...host(0), ...host(0, { id: "host-two00001" as HostId })], []);
  const zone = "z";
  const [first, second] = ["host-one00001" as HostId, "host-two00001" as HostId];

  /** On the first of two hosts, each with room for two such. */
  function placed(): { projection: Projection; id: InstanceId; big: Claim } {
    const projection = two();
    const big = { ...claim(0), room: { ...emptyRoom, vcpus: 32, memoryMiB: 1024, diskGiB: 0 }, not: [second] };
    const id = fits(projection, big);
    if (id === undefined) throw new Error("no room at all");
    return { projection, id, big };
  }
  const vcpus = (projection: Projection) =>
    [first, second].map((each) => Number(projection.digest().get(each)?.split("/")[0]));

  it("takes room at the other host, and at the former one until it has ended", () => {
    const { projection, id } = placed();
    const move = newId("migration");
    expect(projection.claimMove(move, id, { zone, to: null, group: null, dataDiskGiB: 0, not: [] })).toEqual({
      host: second,
    });
    expect(vcpus(projection)).toEqual([32, 32]);
    for (let told = 0; told < 2; told++) projection.moved(move, { source: first, target: second });
    expect(projection.hostOf(id)).toBe(second);
    expect(vcpus(projection)).toEqual([32, 32]);
    // Ended at the target first: what is left at the source is not free for that.
    projection.drop(id);
    expect(vcpus(projection)).toEqual([32, 0]);
    for (let told = 0; told < 2; told++) projection.endMove(move);
    expect(vcpus(projection)).toEqual([0, 0]);
  });

  it("that came to nothing gives the room back", () => {
    const { projection, id } = placed();
    const move = newId("migration");
    projection.claimMove(move, id, { zone, to: second, group: null, dataDiskGiB: 0, not: [] });
    projection.endMove(move);
    expect(vcpus(projection)).toEqual([32, 0]);
    expect(projection.hostOf(id)).toBe(first);
  });

  it("goes to no host without room, nor to its own", () => {
    const { projection, id, big } = placed();
    const move = newId("migration");
    expect(projection.claimMove(move, id, { zone, to: first, group: null, dataDiskGiB: 0, not: [] })).toEqual({
      refused: "no_room",
    });
    for (let i = 0; i < 2; i++) fits(projection, { ...big, id: newId("instance"), not: [first] });
    expect(projection.claimMove(move, id, { zone, to: null, group: null, dataDiskGiB: 0, not: [] })).toEqual({
      refused: "no_room",
    });
  });

  it("keeps a group's members apart at both hosts", () => {
    const { projection, id } = placed();
    const group = { id: "ps-one00001" as GroupId, affinity: 1 };
    const move = newId("migration");
    projection.claimMove(move, id, { zone, to: second, group: null, dataDiskGiB: 0, not: [] });
    projection.regroup(id, group);
    const member = { ...claim(0), group };
    expect(projection.claim(member)).toEqual({ refused: "group" });
    projection.endMove(move);
    expect(projection.claim(member)).toEqual({ host: second });
    const again = newId("migration");
    expect(projection.claimMove(again, id, { zone, to: null, group, dataDiskGiB: 0, not: [] })).toEqual({
      refused: "group",
    });
  });

  it("is read from SQL as it was claimed", () => {
    const { projection, id } = placed();
    const move = newId("migration");
    projection.claimMove(move, id, { zone, to: null, group: null, dataDiskGiB: 0, not: [] });
    const room = projection.roomOf(id) ?? emptyRoom;
    const accountId = "acc-one00001" as AccountId;
    const hosts = [...host(0), ...host(0, { id: second })];
    const anew = new Projection(
      new AddressBook([]),
      hosts,
      [{ id, accountId, hostId: first, groupId: null, room }],
      [{ id: move, instanceId: id, hostId: second, groupId: null, room }],
    );
    expect(anew.digest()).toEqual(projection.digest());
  });
});
