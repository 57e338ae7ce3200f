/** The catalogue of instance types, and how many of each would fit now. */
import type { InstanceType } from "../../core/instance-types.ts";
import { action, type AnswerOf } from "./action.ts";
import { filters, filterValues } from "./filters.ts";
import { instancesOf } from "./instances-of.ts";
import { idsToChange, ignored } from "./parameters.ts";
import { free } from "./prices.ts";

type Quota = NonNullable<AnswerOf<"DescribeZoneInstanceConfigInfos">["InstanceTypeQuotaSet"]>[number];
type Given = ReadonlyMap<string, string[]>;

function passes(given: Given, name: string, value: string): boolean {
  const values = given.get(name);
  return values === undefined || values.includes(value);
}

function selected(zones: readonly string[], types: readonly InstanceType[], given: Given) {
  return zones
    .filter((zone) => passes(given, "zone", zone))
    .flatMap((zone) =>
      types
        .filter((type) => passes(given, "instance-family", type.family) && passes(given, "instance-type", type.name))
        .map((type) => ({ zone, type })),
    );
}

/** A type as every action shows it that lists types; none has a GPU. */
export function shownType(zone: string, type: InstanceType) {
  return {
    Zone: zone,
    InstanceType: type.name,
    InstanceFamily: type.family,
    CPU: type.vcpus,
    Memory: type.memoryGiB,
    GPU: 0,
    FPGA: 0,
    GpuCount: 0,
    GpuType: "",
    GpuMemory: 0,
  };
}

export const describeInstanceTypeConfigs = action("DescribeInstanceTypeConfigs")(
  { Filters: filters(["zone", "instance-family", "instance-type"], 1) },
  ({ cloud, place }, request) =>
    Promise.resolve({
      InstanceTypeConfigSet: selected(place.zones, cloud.catalogue.types, filterValues(request.Filters)).map(
        ({ zone, type }) => shownType(zone, type),
      ),
    }),
);

export const describeZoneInstanceConfigInfos = action("DescribeZoneInstanceConfigInfos")(
  { Filters: filters(["zone", "instance-family", "instance-type", "instance-charge-type", "sort-keys"], 100) },
  async ({ cloud, place }, request) => {
    const given = filterValues(request.Filters);
    if (!passes(given, "instance-charge-type", "POSTPAID_BY_HOUR")) return { InstanceTypeQuotaSet: [] };
    const room = await cloud.catalogue.room();
    const rows = selected(place.zones, cloud.catalogue.types, given).map(({ zone, type }) =>
      quota(zone, type, room.get(type.name) ?? 0),
    );
    return { InstanceTypeQuotaSet: sorted(rows, given.get("sort-keys") ?? []) };
  },
);

function quota(zone: string, type: InstanceType, room: number): Quota {
  return {
    Zone: zone,
    InstanceType: type.name,
    InstanceFamily: type.family,
    TypeName: type.family,
    InstanceChargeType: "POSTPAID_BY_HOUR",
    Cpu: type.vcpus,
    Memory: type.memoryGiB,
    CpuType: "",
    Frequency: "",
    Gpu: 0,
    GpuCount: 0,
    Fpga: 0,
    NetworkCard: 0,
    InstanceBandwidth: type.bandwidthGbps,
    // In ten thousand packets per second.
    InstancePps: type.kpps / 10,
    StorageBlockAmount: 0,
    LocalDiskTypeList: [],
    Externals: { ReleaseAddress: false, UnsupportNetworks: [] },
    Remark: "",
    Price: { ...free },
    Status: room > 0 ? "SELL" : "SOLD_OUT",
    StatusCategory: stock(room),
    SoldOutReason: room > 0 ? "" : "No host has room for one more.",
  };
}

function stock(room: number): "EnoughStock" | "NormalStock" | "UnderStock" | "WithoutStock" {
  if (room === 0) return "WithoutStock";
  if (room < 10) return "UnderStock";
  return room < 100 ? "NormalStock" : "EnoughStock";
}

/** `cpu:desc`, `mem:asc`: the first key counts most. Keys that say nothing here leave the catalogue's order. */
function sorted(rows: Quota[], keys: string[]): Quota[] {
  const orders = keys.flatMap((key) => {
    const [field, direction] = key.toLowerCase().split(":");
    const sign = direction === "desc" ? -1 : 1;
    if (field === "cpu") return [(a: Quota, b: Quota) => sign * ((a.Cpu ?? 0) - (b.Cpu ?? 0))];
    if (field === "mem") return [(a: Quota, b: Quota) => sign * ((a.Memory ?? 0) - (b.Memory ?? 0))];
    return [];
  });
  return rows.toSorted((a, b) => orders.map((order) => order(a, b)).find((result) => result !== 0) ?? 0);
}

export const describeInstanceFamilyConfigs = action("DescribeInstanceFamilyConfigs")({}, ({ cloud }) => {
  const families = [...new Set(cloud.catalogue.types.map((type) => type.family))];
  return Promise.resolve({
    InstanceFamilyConfigSet: families.map((family) => ({ InstanceFamily: family, InstanceFamilyName: family })),
  });
});

/** Traffic is counted by nobody; this is the one word that fits. */
export const describeInternetChargeTypeConfigs = action("DescribeInternetChargeTypeConfigs")({}, () =>
  Promise.resolve({
    InternetChargeTypeConfigSet: [
      { InternetChargeType: "TRAFFIC_POSTPAID_BY_HOUR", Description: "By traffic; nothing is billed here." },
    ],
  }),
);

/** What an instance may be changed to: every type that has room now, and what it is already. */
export const describeInstancesModification = action("DescribeInstancesModification")(
  { InstanceIds: idsToChange("instance", 20), Filters: ignored() },
  async (context, request) => {
    const instances = await instancesOf(context, request.InstanceIds);
    const room = await context.cloud.catalogue.room();
    const own = new Set(instances.map(({ instanceType }) => instanceType));
    const zone = context.place.zones[0] ?? "";
    const set = context.cloud.catalogue.types.map((type) => {
      const fits = own.has(type.name) || (room.get(type.name) ?? 0) > 0;
      return {
        Status: fits ? "SELL" : "SOLD_OUT",
        Message: fits ? "" : "no host of the zone has room for it now",
        InstanceTypeConfig: shownType(zone, type),
      };
    });
    return { TotalCount: set.length, InstanceTypeConfigStatusSet: set };
  },
);
