/** Regions and zones: what a client asks before it knows anything else. */
import { action } from "./action.ts";

export const describeRegions = action("DescribeRegions", { regional: false })({}, ({ place }) =>
  Promise.resolve({
    TotalCount: 1,
    RegionSet: [{ Region: place.region, RegionName: place.region, RegionState: "AVAILABLE" }],
  }),
);

export const describeZones = action("DescribeZones")({}, ({ place }) =>
  Promise.resolve({
    TotalCount: place.zones.length,
    ZoneSet: place.zones.map((zone, i) => ({
      Zone: zone,
      ZoneName: zone,
      // Text of a number, by the place in the configuration; names are never parsed.
      ZoneId: String(i + 1),
      ZoneState: "AVAILABLE",
    })),
  }),
);
