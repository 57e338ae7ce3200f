/**
 * Tags. A resource is named by six parts, `qcs::cvm:<region>:uin/<n>:instance/ins-...`, of which the last one's id says everything: an
 * id is one thing's alone. The parts before it are checked where they could contradict (the region) and read over where they are
 * another's business (the account's number, which clients leave out).
 */
import type { Tag, TagKeyObject } from "tencentcloud-sdk-nodejs/tencentcloud/services/tag/v20180813/tag_models.js";
import { action, type Place } from "../action.ts";
import { Refusal } from "../error-codes.ts";
import { check, ignored, integer, line, list, structure, text } from "../parameters.ts";

const key = () =>
  check(
    line(127),
    "InvalidParameterValue.TagKeyEmpty",
    "is empty or begins or ends with a space",
    (value) => value !== "" && value.trim() === value,
  );

const tag = structure<Tag>()({ TagKey: key(), TagValue: line(255), Category: ignored() });

/** More than a resource may have cannot be bound. */
const tagLimit = 50;

function tags() {
  return check(
    list(tag, tagLimit, "LimitExceeded.TagNumPerRequest"),
    "InvalidParameterValue.TagKeyDuplicate",
    "holds a tag key twice",
    (given) => new Set(given.map(({ TagKey }) => TagKey)).size === given.length,
  );
}

const resource = () => text(256, "InvalidParameterValue.ResourceDescriptionError");
const resources = () =>
  check(
    list(resource(), 10, "LimitExceeded.ResourceNumPerRequest"),
    "InvalidParameterValue.NotEmpty",
    "is empty",
    (given) => given.length > 0,
  );

const replaced = (given: readonly { TagKey: string; TagValue: string }[]): Record<string, string> =>
  Object.fromEntries(given.map(({ TagKey, TagValue }) => [TagKey, TagValue]));

/** The id of what six parts name. */
function resourceIdOf(name: string, { region }: Place): string {
  const parts = name.split(":");
  const [, id] = /^[A-Za-z-]+\/([a-z]+-[a-z0-9]{8})$/.exec(parts[5] ?? "") ?? [];
  if (parts.length !== 6 || parts[0] !== "qcs" || id === undefined) {
    throw new Refusal(
      "InvalidParameterValue.ResourceDescriptionError",
      "A resource is named as in `qcs::cvm:<region>:uin/<n>:instance/ins-...`.",
    );
  }
  if (parts[3] !== "" && parts[3] !== region) {
    throw new Refusal("InvalidParameterValue.RegionInvalid", `The region here is ${region}.`);
  }
  return id;
}

export const describeResourceTagsByResourceIds = action("DescribeResourceTagsByResourceIds")(
  {
    // What an id is the id of, the id says.
    ServiceType: text(64),
    ResourcePrefix: text(64),
    ResourceIds: list(text(64), 50, "LimitExceeded.ResourceNumPerRequest"),
    ResourceRegion: text(64),
    Offset: integer(0, 1_000_000_000, "InvalidParameterValue.OffsetInvalid").default(0),
    Limit: integer(1, 1_000).default(15),
    Category: ignored(),
  },
  async ({ cloud, caller }, request) => {
    const { Offset, Limit, ServiceType } = request;
    const page = { offset: Offset, limit: Limit };
    const { total, items } = await cloud.tags.list(caller, [...new Set(request.ResourceIds)], page);
    return {
      TotalCount: total,
      Offset,
      Limit,
      Tags: items.map(({ resourceId, key: TagKey, value: TagValue }) => ({
        TagKey,
        TagValue,
        ResourceId: resourceId,
        ServiceType,
        Category: "Custom",
      })),
    };
  },
);

export const modifyResourceTags = action("ModifyResourceTags")(
  {
    Resource: resource(),
    ReplaceTags: tags().optional(),
    DeleteTags: list(
      structure<TagKeyObject>()({ TagKey: key() }),
      tagLimit,
      "LimitExceeded.TagNumPerRequest",
    ).optional(),
  },
  async ({ cloud, caller, place }, request) => {
    const replace = replaced(request.ReplaceTags ?? []);
    const remove = (request.DeleteTags ?? []).map(({ TagKey }) => TagKey);
    if (Object.keys(replace).length + remove.length === 0) {
      throw new Refusal("MissingParameter", "Give `ReplaceTags` or `DeleteTags`.");
    }
    if (remove.some((each) => Object.hasOwn(replace, each))) {
      throw new Refusal("InvalidParameterValue.DeleteTagsParamError", "A tag key is to be replaced and to be deleted.");
    }
    await cloud.tags.change(caller, [resourceIdOf(request.Resource, place)], { replace, remove });
    return {};
  },
);

export const tagResources = action("TagResources")(
  { ResourceList: resources(), Tags: tags() },
  async ({ cloud, caller, place }, request) => {
    const ids = request.ResourceList.map((name) => resourceIdOf(name, place));
    await cloud.tags.change(caller, ids, { replace: replaced(request.Tags), remove: [] });
    return { FailedResources: [] };
  },
);

export const unTagResources = action("UnTagResources")(
  { ResourceList: resources(), TagKeys: list(key(), tagLimit, "LimitExceeded.TagNumPerRequest") },
  async ({ cloud, caller, place }, request) => {
    const ids = request.ResourceList.map((name) => resourceIdOf(name, place));
    await cloud.tags.change(caller, ids, { replace: {}, remove: request.TagKeys });
    return { FailedResources: [] };
  },
);

export const getTags = action("GetTags")(
  {
    PaginationToken: text(16).optional(),
    MaxResults: integer(1, 1_000).default(50),
    TagKeys: list(key(), 20).optional(),
    Category: ignored(),
  },
  async ({ cloud, caller }, request) => {
    const { PaginationToken: token = "", MaxResults: limit } = request;
    if (!/^\d{0,9}$/.test(token)) {
      throw new Refusal(
        "InvalidParameter.PaginationTokenInvalid",
        "`PaginationToken` is none that was answered before.",
      );
    }
    const keys = request.TagKeys ?? [];
    const offset = Number(token);
    const { total, items } = await cloud.tags.pairs(caller, keys.length === 0 ? null : keys, { offset, limit });
    const next = offset + items.length;
    return {
      PaginationToken: next < total ? String(next) : "",
      Tags: items.map(({ key: TagKey, value: TagValue }) => ({ TagKey, TagValue, Category: "Custom" })),
    };
  },
);
