/** Images, everybody's and the account's own. There are few: filters that the use case does not know are applied over the whole list. */
import type { ImageView } from "../cloud/images.ts";
import { action, utcSeconds, type AnswerOf, type Context } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { filters, filterValues, notBoth } from "./filters.ts";
import { id, list, page, text } from "./parameters.ts";

type Shown = NonNullable<AnswerOf<"DescribeImages">["ImageSet"]>[number];

const none = new Set(["tag-key", "tag-value", "dedicated-cluster-id", "cdc-cache-status"]);
const imageFilters = filters(["image-id", "image-type", "image-name", "platform", "image-state", ...none, "tag:"], 5);

export const describeImages = action("DescribeImages")(
  {
    ImageIds: list(id("image"), 100).optional(),
    Filters: imageFilters,
    ...page,
    InstanceType: text(64, "InvalidParameterValue.InstanceTypeNotFound").optional(),
  },
  async (context, request) => {
    const ids = request.ImageIds ?? [];
    const given = filterValues(request.Filters);
    notBoth(ids, request.Filters, "ImageIds", "InvalidParameter.InvalidParameterCoexistImageIdsFilters");
    const images = (await all(context)).filter(
      (image) =>
        (ids.length === 0 || ids.includes(image.id)) &&
        [...given].every(([name, values]) => passes(image, name, values)) &&
        fits(image, request.InstanceType, context),
    );
    return {
      TotalCount: images.length,
      ImageSet: images.slice(request.Offset, request.Offset + request.Limit).map(shownImage),
    };
  },
);

async function all({ cloud, caller }: Context): Promise<ImageView[]> {
  const images: ImageView[] = [];
  for (;;) {
    const { items, total } = await cloud.images.list(caller, {}, { offset: images.length, limit: 100 });
    images.push(...items);
    if (items.length === 0 || images.length >= total) return images;
  }
}

function passes(image: ImageView, name: string, values: string[]): boolean {
  switch (name) {
    case "image-id":
      return values.includes(image.id);
    case "image-type":
      return values.includes(typeOf(image));
    case "image-state":
      return values.includes(image.state);
    case "image-name":
      return values.some((value) => contains(image.name, value));
    case "platform":
      return values.some((value) => contains(image.platform, value));
    default:
      return false; // tags and clusters: no image has one
  }
}

function contains(whole: string, part: string): boolean {
  return whole.toLowerCase().includes(part.toLowerCase());
}

function fits(image: ImageView, typeName: string | undefined, { cloud }: Context): boolean {
  if (typeName === undefined) return true;
  const type = cloud.catalogue.types.find((each) => each.name === typeName);
  if (type === undefined) {
    throw new Refusal("InvalidParameterValue.InstanceTypeNotFound", `There is no instance type ${typeName}.`);
  }
  return image.minMemoryMiB <= type.memoryGiB * 1024;
}

function typeOf(image: ImageView): "PUBLIC_IMAGE" | "PRIVATE_IMAGE" {
  return image.accountId === null ? "PUBLIC_IMAGE" : "PRIVATE_IMAGE";
}

function shownImage(image: ImageView): Shown {
  const { id: imageId, manifest, createdAt } = image;
  const sizeGiB = manifest?.disk.virtualSizeGiB ?? 0;
  return {
    ImageId: imageId,
    ImageName: image.name,
    // Why there is no image, where there is none; CVM has no other place for it.
    ImageDescription: image.failure?.message ?? image.description,
    ImageType: typeOf(image),
    ImageSource: image.source,
    ImageState: image.state,
    ImageSize: sizeGiB,
    ImageCreator: image.accountId ?? "",
    Architecture: manifest?.architecture ?? "x86_64",
    OsName: image.osName,
    Platform: image.platform,
    CreatedTime: utcSeconds(createdAt),
    SyncPercent: image.progress,
    IsSupportCloudinit: true,
    // Clients ask for the size of an image here; there is no snapshot behind it.
    SnapshotSet: [{ SnapshotId: "", DiskUsage: "SYSTEM_DISK", DiskSize: sizeGiB }],
    Tags: [],
    ImageDeprecated: false,
  };
}
