/** Which refusals are waited out: those that a host on its way may mend, and as long as one is. */
import { expect, it, vi } from "vitest";
import { failure } from "../../core/failure-codes.ts";
import { HostPatience } from "./host-patience.ts";
import { noRoom } from "./refusals.ts";

const failing = (error: Error) => vi.fn<() => Promise<string>>().mockRejectedValue(error);
const forWantOfHosts = [noRoom("no_host", 0, 1), noRoom("no_room", 0, 1, 2)];

it.each(forWantOfHosts)("asks again when hosts have changed: $message", async (error) => {
  const patience = new HostPatience();
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
  const patience = new HostPatience();
  patience.renew();
  await expect(patience.during(failing(error))).rejects.toBe(error);
});

it.each(forWantOfHosts)("refuses at once when no host is on its way: $message", async (error) => {
  await expect(new HostPatience().during(failing(error))).rejects.toBe(error);
});
