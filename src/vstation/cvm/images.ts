/**
 * Images that an account brings: ImportImage and what may be done with it then. DescribeImages is in describe-images.ts.
 *
 * CVM has no parameter for a file's format: here the ending of the URL's path declares it. It is never guessed from the content.
 */
import { diskFormats, plainMachine, type DiskFormat } from "../../core/image.ts";
import { action } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { boolean, check, id, idsToChange, ignored, line, oneOf, refused, text } from "./parameters.ts";

const none = ["0", "-"] as const;
/** By platform, the versions that a client may name; both are shown by DescribeImages and decide nothing. */
const linux: Readonly<Record<string, readonly string[]>> = {
  AlmaLinux: ["8", "9", "10", ...none],
  Alpine: [...none],
  "Amazon Linux": ["2", "2023", ...none],
  Arch: [...none],
  CentOS: ["6", "7", "8", "9", "10", ...none],
  Debian: ["10", "11", "12", "13", ...none],
  Fedora: [...none],
  FreeBSD: ["13", "14", "15", ...none],
  openSUSE: ["15", "16", ...none],
  "Oracle Linux": ["8", "9", "10", ...none],
  "Red Hat": ["7", "8", "9", "10", ...none],
  "Rocky Linux": ["8", "9", "10", ...none],
  SUSE: ["12", "15", "16", ...none],
  Ubuntu: ["18", "20", "22", "24", "26", ...none],
  "Other Linux": [...none],
};
const windows: Readonly<Record<string, readonly string[]>> = {
  Windows: ["2012", "2016", "2019", "2022", "2025", "10", "11", ...none],
};
const systems = { ...linux, ...windows };

const ImageName = check(line(60), "InvalidParameterValue.NotEmpty", "is empty", (name) => name.trim() !== "");
const TagSpecification = refused("UnsupportedOperation", "asks for tags, which images do not have here");

export const importImage = action("ImportImage")(
  {
    Architecture: oneOf(["x86_64"], "InvalidParameterValue"),
    OsType: oneOf(Object.keys(systems), "InvalidImageOsType.Unsupported"),
    OsVersion: text(64),
    ImageUrl: text(2048),
    ImageName,
    ImageDescription: line(256).optional(),
    DryRun: boolean().optional(),
    // What it would skip is never looked at: drivers inside the guest.
    Force: ignored(),
    TagSpecification,
    LicenseType: ignored(),
    BootMode: oneOf(["Legacy BIOS", "UEFI"]).optional(),
    ImageFamily: refused(),
    ImportImageDataDiskList: refused("UnsupportedOperation", "asks for data disks; an image here is one disk"),
  },
  async ({ cloud, caller }, request) => {
    const image = await cloud.images.import(caller, {
      name: request.ImageName,
      description: request.ImageDescription ?? "",
      format: formatOf(request.ImageUrl),
      bootMode: request.BootMode === "UEFI" ? "uefi" : "bios",
      osName: `${request.OsType} ${request.OsVersion}`.slice(0, 100),
      platform: request.OsType,
      minMemoryMiB: leastMemoryMiB,
      // Windows 11 and Server 2025 ask for a TPM, every Windows runs better with the rest; CVM has no parameter for any of it.
      machine:
        request.OsType in windows ? { secureBoot: request.BootMode === "UEFI", tpm: true, hyperv: true } : plainMachine,
      from: { url: request.ImageUrl },
      isPublic: false,
      dryRun: request.DryRun ?? false,
    });
    return image === undefined ? {} : { ImageId: image.id };
  },
);

export const createImage = action("CreateImage")(
  {
    ImageName,
    InstanceId: id("instance"),
    ImageDescription: line(256).optional(),
    // A running guest's disk is copied while it runs; who wants it shut down first stops it.
    ForcePoweroff: falseText("asks for a shutdown first: stop the instance, then make the image"),
    Sysprep: falseText("asks for Sysprep, which runs inside Windows: run it there first"),
    DataDiskIds: refused("UnsupportedOperation", "asks for data disks; an image here is one disk"),
    SnapshotIds: refused("UnsupportedOperation", "asks for snapshots; an image is made of an instance here"),
    DryRun: boolean().optional(),
    TagSpecification,
    ImageFamily: refused(),
  },
  async ({ cloud, caller }, request) => {
    const image = await cloud.images.create(caller, {
      instanceId: request.InstanceId,
      name: request.ImageName,
      description: request.ImageDescription ?? "",
      dryRun: request.DryRun ?? false,
    });
    return image === undefined ? {} : { ImageId: image.id };
  },
);

/** A flag that CVM writes as text, of which only "false" is offered. */
function falseText(why: string) {
  return check(
    oneOf(["true", "false", "TRUE", "FALSE"]),
    "UnsupportedOperation",
    why,
    (value) => value.toLowerCase() === "false",
  ).optional();
}

/** What the smallest instance type has is enough to try. */
const leastMemoryMiB = 256;

function formatOf(url: string): DiskFormat {
  const path = URL.parse(url)?.pathname.toLowerCase() ?? "";
  const found =
    diskFormats.find((format) => path.endsWith(`.${format}`)) ?? (path.endsWith(".img") ? "raw" : undefined);
  if (found !== undefined) return found;
  const endings = diskFormats.map((format) => `.${format}`).join(", ");
  throw new Refusal(
    "InvalidParameterValue",
    `The path of \`ImageUrl\` must end in ${endings} or .img (raw): it declares the format.`,
  );
}

export const modifyImageAttribute = action("ModifyImageAttribute")(
  {
    ImageId: id("image"),
    ImageName: ImageName.optional(),
    ImageDescription: line(256).optional(),
    ImageFamily: refused(),
    ImageDeprecated: refused(),
  },
  async ({ cloud, caller }, { ImageId, ImageName: name, ImageDescription: description }) => {
    await cloud.images.modify(caller, ImageId, {
      ...(name === undefined ? {} : { name }),
      ...(description === undefined ? {} : { description }),
    });
    return {};
  },
);

export const deleteImages = action("DeleteImages")(
  {
    ImageIds: idsToChange("image", 50),
    // An image has no snapshot of its own behind it.
    DeleteBindedSnap: ignored(),
    DryRun: boolean().optional(),
  },
  async ({ cloud, caller }, { ImageIds, DryRun }) => {
    await cloud.images.delete(caller, ImageIds, { dryRun: DryRun ?? false });
    return {};
  },
);

export const describeImageQuota = action("DescribeImageQuota")({}, async ({ cloud, caller }) => {
  const { limit } = await cloud.images.quota(caller);
  return { ImageNumQuota: limit };
});

export const describeImportImageOs = action("DescribeImportImageOs")({}, () =>
  Promise.resolve({
    ImportImageOsListSupported: { Linux: Object.keys(linux), Windows: Object.keys(windows) },
    ImportImageOsVersionSet: Object.entries(systems).map(([OsName, OsVersions]) => ({
      OsName,
      OsVersions: [...OsVersions],
      Architecture: ["x86_64"],
    })),
  }),
);
