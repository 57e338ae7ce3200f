/** Images. There are few, all public: those filters that the use case does not know are applied here, over the whole list. */
import type { ImageView } from "../cloud.ts";
import { action, utcSeconds, type AnswerOf, type Context } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { filters, filterValues } from "./filters.ts";
import { id, list, page, text } from "./parameters.ts";

type Shown = NonNullable<AnswerOf<"DescribeImages">["ImageSet"]>[number];

const none = new Set(["tag-key", "tag-value", "dedicated-cluster-id", "cdc-cache-status"]);
const imageFilters = filters(["image-id", "image-type", "image-name", "platform", ...none, "tag:"], 5);

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
    if (ids.length > 0 && given.size > 0) {
      throw new Refusal(
        "InvalidParameter.InvalidParameterCoexistImageIdsFilters",
        "Give `ImageIds` or `Filters`, not both.",
      );
    }
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
      return values.includes("PUBLIC_IMAGE");
    case "image-name":
      return values.some((value) => contains(image.manifest.name, value));
    case "platform":
      return values.some((value) => contains(image.manifest.platform, value));
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
  return image.manifest.minMemoryMiB <= type.memoryGiB * 1024;
}

function shownImage({ id: imageId, manifest, createdAt }: ImageView): Shown {
  return {
    ImageId: imageId,
    ImageName: manifest.name,
    ImageDescription: "",
    ImageType: "PUBLIC_IMAGE",
    ImageSource: "OFFICIAL",
    ImageState: "NORMAL",
    ImageSize: manifest.disk.virtualSizeGiB,
    ImageCreator: "",
    Architecture: manifest.architecture,
    OsName: manifest.osName,
    Platform: manifest.platform,
    CreatedTime: utcSeconds(createdAt),
    SyncPercent: 100,
    IsSupportCloudinit: true,
    // Clients ask for the size of an image here; there is no snapshot behind it.
    SnapshotSet: [{ SnapshotId: "", DiskUsage: "SYSTEM_DISK", DiskSize: manifest.disk.virtualSizeGiB }],
    Tags: [],
    ImageDeprecated: false,
  };
}
