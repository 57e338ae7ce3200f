/** Which refusals are waited out: those that a host on its way may mend, and as long as one is. */
import { expect, it, vi } from "vitest";
import { sleep } from "../../lib/retry.ts";
import { failure } from "../../core/failure-codes.ts";
import { HostPatience } from "./host-patience.ts";
import { noRoom } from "./refusals.ts";

const failing = (error: Error) => vi.fn<() => Promise<string>>().mockRejectedValue(error);
const nothingNew = async (): Promise<void> => {};
const forWantOfHosts = [noRoom("no_host", 0, 1), noRoom("no_room", 0, 1, 2)];

it.each(forWantOfHosts)("asks again when hosts have changed: $message", async (error) => {
  const patience = new HostPatience(nothingNew);
  patience.renew();
  const work = vi.fn<() => Promise<string>>().mockRejectedValueOnce(error).mockResolvedValue("placed");
  const placed = patience.during(work);
  await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
  patience.hostsChanged();
  expect(await placed).toBe("placed");
});

it.each([
  noRoom("no_room", 0, 1),
  noRoom("type_too_large", 0, 1, 2),
  noRoom("addresses", 0, 1),
  failure("PlacementUnavailable", "changing hands"),
])("refuses at once what no host that comes would change: $message", async (error) => {
  const patience = new HostPatience(nothingNew);
  patience.renew();
  await expect(patience.during(failing(error))).rejects.toBe(error);
});

it.each(forWantOfHosts)("refuses at once when no host is on its way: $message", async (error) => {
  const work = failing(error);
  await expect(new HostPatience(nothingNew).during(work)).rejects.toBe(error);
  expect(work).toHaveBeenCalledTimes(2);
});

it("waits for a host that has joined and that nobody has told of yet", async () => {
  const look = vi.fn<() => Promise<void>>(async () => {
    await sleep(1);
    patience.renew();
  });
  const patience = new HostPatience(look);
  const work = failing(noRoom("no_host", 0, 1));
  const placed = [patience.during(work), patience.during(work)];
  await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(4));
  work.mockResolvedValue("placed");
  patience.hostsChanged();
  expect(await Promise.all(placed)).toEqual(["placed", "placed"]);
  expect(look).toHaveBeenCalledTimes(1);
});
