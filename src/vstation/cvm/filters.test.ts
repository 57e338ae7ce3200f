/** How filters become one query. What each list then finds is shown in test/real. The `Cloud` is a fake: wire rules only. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { diskUsages } from "../../core/disk.ts";
import type { DiskQuery } from "../cloud-storage.ts";
import { byIds, byWords, listed, queryOf, type Narrows } from "./filters.ts";
import { fakeCloud } from "./cloud.fake.ts";
import { call, serveFake, type TestServer } from "./served.fake.ts";

const narrows: Narrows<DiskQuery> = {
  "disk-id": byIds("disk", (ids) => ({ ids })),
  "disk-usage": byWords(diskUsages, (usages) => ({ usages })),
  data: () => ({ usages: ["DATA_DISK"] }),
  attached: () => ({ attached: true }),
  free: () => ({ attached: false }),
  nothing: () => null,
};
const asked = (given: Record<string, string[]>) =>
  queryOf(
    Object.entries(given).map(([Name, Values]) => ({ Name, Values })),
    narrows,
  );

describe("filters", () => {
  it("ask for all when there are none", () => {
    expect(asked({})).toEqual({});
  });

  it("of ids and of words pass what is one, and nothing when none is", () => {
    expect(asked({ "disk-id": ["disk-00000001", "ins-00000001", "x"] })).toEqual({ ids: ["disk-00000001"] });
    expect(asked({ "disk-id": ["ins-00000001"] })).toBeNull();
    expect(asked({ "disk-usage": ["DATA_DISK", "TAPE"] })).toEqual({ usages: ["DATA_DISK"] });
    expect(asked({ "disk-usage": ["TAPE"] })).toBeNull();
  });

  it("must all hold, in either order, also where two speak of one thing", () => {
    expect(asked({ "disk-usage": ["SYSTEM_DISK", "DATA_DISK"], data: ["x"] })).toEqual({ usages: ["DATA_DISK"] });
    expect(asked({ "disk-usage": ["SYSTEM_DISK"], data: ["x"] })).toBeNull();
    expect(asked({ data: ["x"], "disk-usage": ["SYSTEM_DISK"] })).toBeNull();
    expect(asked({ attached: ["x"], free: ["x"] })).toBeNull();
    expect(asked({ attached: ["x"], nothing: ["x"] })).toBeNull();
  });

  it("of tags are kept by key, whatever the key", () => {
    const tags = asked({ "tag:a": ["1", "2"], "tag:__proto__": ["3"] }) as { tags: object } | null;
    expect(Object.entries(tags?.tags ?? {})).toEqual([
      ["a", ["1", "2"]],
      ["__proto__", ["3"]],
    ]);
  });
});

describe("a list", () => {
  const seen: DiskQuery[] = [];
  const list = (request: { DiskIds?: `disk-${string}`[]; Filters?: { Name: string; Values: string[] }[] }) =>
    listed("DiskIds", request as never, narrows, "InvalidParameter", (query: DiskQuery) => {
      seen.push(query);
      return Promise.resolve({ total: 1, items: ["one"] });
    });

  it("is asked for by ids or by filters, and not asked for at all when nothing can pass", async () => {
    expect(await list({ DiskIds: ["disk-00000001"], Filters: [] })).toEqual({ total: 1, items: ["one"] });
    expect(await list({ DiskIds: [], Filters: [{ Name: "attached", Values: ["x"] }] })).toMatchObject({ total: 1 });
    expect(await list({ Filters: [{ Name: "nothing", Values: ["x"] }] })).toEqual({ total: 0, items: [] });
    expect(seen).toEqual([{ ids: ["disk-00000001"] }, { attached: true }]);
  });

  it("is not asked for by both", () => {
    const both = { DiskIds: ["disk-00000001" as const], Filters: [{ Name: "attached", Values: ["x"] }] };
    expect(() => list(both)).toThrow("Give `DiskIds` or `Filters`, not both.");
  });
});

describe("what a list is asked for by the filters of", () => {
  const { cloud } = fakeCloud();
  let query: unknown;
  let server: TestServer;
  const find = (_: unknown, wanted: unknown) => {
    query = wanted;
    return Promise.resolve({ total: 0, items: [] });
  };
  beforeAll(async () => {
    cloud.disks.list = find;
    cloud.network.elasticAddresses.list = find;
    server = await serveFake(cloud);
  });
  afterAll(() => server.close());

  const eip = { kinds: ["eip"] };
  it.each([
    ["DescribeDisks", "portable", ["TRUE"], { usages: ["DATA_DISK"] }],
    ["DescribeDisks", "portable", ["false"], { usages: ["SYSTEM_DISK"] }],
    ["DescribeDisks", "portable", ["true", "FALSE"], { usages: ["DATA_DISK", "SYSTEM_DISK"] }],
    ["DescribeDisks", "portable", ["perhaps"], "nothing"],
    ["DescribeAddresses", "address-type", ["WanIP", "EIP"], { kinds: ["eip", "wan"] }],
    ["DescribeAddresses", "address-type", ["constructor"], "nothing"],
    ["DescribeAddresses", "address-status", ["BIND"], { bound: true, ...eip }],
    ["DescribeAddresses", "address-status", ["UNBIND"], { bound: false, ...eip }],
    ["DescribeAddresses", "address-status", ["UNBIND", "BIND"], eip],
    ["DescribeAddresses", "address-status", ["constructor"], "nothing"],
  ])("%s: %s %j", async (action, Name, Values, expected) => {
    query = "nothing";
    const { response } = await call(server.port, action, { Filters: [{ Name, Values }] });
    expect([response.Error, query]).toEqual([undefined, expected]);
  });
});
