/** What the account may have. There is one way to pay, which is none, so the quota of instances is that of the postpaid ones. */
import { action } from "./action.ts";
import { filters, filterValues } from "./filters.ts";

/** Instances that a group may hold on one host, at most. */
const mostAffinity = 10;

export const describeAccountQuota = action("DescribeAccountQuota")(
  { Filters: filters(["zone", "quota-type"], 5) },
  async ({ cloud, caller, place }, request) => {
    const { limits, used } = await cloud.quotas(caller);
    const given = filterValues(request.Filters);
    const wanted = (name: string): boolean => given.get("quota-type")?.includes(name) ?? true;
    const zones = place.zones.filter((zone) => given.get("zone")?.includes(zone) ?? true);
    const instances = { total: limits.instances, used: used.instances ?? 0 };
    const perZone = zones.map((Zone) => ({
      Zone,
      UsedQuota: instances.used,
      RemainingQuota: Math.max(0, instances.total - instances.used),
      TotalQuota: instances.total,
    }));
    const none = zones.map((Zone) => ({ Zone, UsedQuota: 0, RemainingQuota: 0, TotalQuota: 0 }));
    return {
      AppId: 0,
      AccountQuotaOverview: {
        Region: place.region,
        AccountQuota: {
          PostPaidQuotaSet: wanted("PostPaidQuotaSet") ? perZone : [],
          PrePaidQuotaSet: wanted("PrePaidQuotaSet") ? none.map((one) => ({ ...one, OnceQuota: 0 })) : [],
          SpotPaidQuotaSet: wanted("SpotPaidQuotaSet") ? none : [],
          ImageQuotaSet: wanted("ImageQuotaSet") ? [{ UsedQuota: used.images ?? 0, TotalQuota: limits.images }] : [],
          DisasterRecoverGroupQuotaSet: wanted("DisasterRecoverGroupQuotaSet")
            ? [
                {
                  GroupQuota: limits.groups,
                  CurrentNum: used.groups ?? 0,
                  CvmInHostGroupQuota: mostAffinity,
                  CvmInSwitchGroupQuota: 0,
                  CvmInRackGroupQuota: 0,
                },
              ]
            : [],
        },
      },
    };
  },
);

export const describeDisasterRecoverGroupQuota = action("DescribeDisasterRecoverGroupQuota")(
  {},
  async ({ cloud, caller }) => {
    const { limits, used } = await cloud.quotas(caller);
    return {
      GroupQuota: limits.groups,
      CurrentNum: used.groups ?? 0,
      CvmInHostGroupQuota: mostAffinity,
      // Groups over switches and racks are not offered.
      CvmInSwGroupQuota: 0,
      CvmInSwitchGroupQuota: 0,
      CvmInRackGroupQuota: 0,
    };
  },
);
