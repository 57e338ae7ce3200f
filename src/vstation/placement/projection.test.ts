/** What a claim took comes back when nothing comes of it, and is not counted twice once SQL knows of it; and which hosts are on their way. */
import { expect, it } from "vitest";
import { emptyRoom } from "../../core/placement.ts";
import { newId, type AccountId, type HostId, type InstanceId } from "../../lib/ids.ts";
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
