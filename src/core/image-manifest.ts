/**
 * What an image says of itself: `manifest.json` beside the image's files. Who builds or imports an image writes it; Compute reads it
 * to know what to boot and from what, VStation to know what fits. File names are relative to the manifest's own folder.
 *
 * An image is never changed in place: overlays of running instances stand on its disk. Other content is another id.
 */
import * as z from "zod";
import { idSchema } from "../lib/ids.ts";

const fileName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$/, "a plain file name beside the manifest");

/** How a machine with this image starts: its kernel given by the host, or by the firmware from its own disk. */
const bootSchema = z.union([
  z.object({ kind: z.literal("direct"), kernel: fileName, initrd: fileName, cmdline: z.string().max(2000) }),
  z.object({ kind: z.literal("disk"), firmware: z.literal("bios") }),
  z.object({
    kind: z.literal("disk"),
    firmware: z.literal("uefi"),
    /** Only loaders that are signed for it start. */
    secureBoot: z.boolean().default(false),
  }),
]);

export const imageManifestSchema = z.object({
  id: idSchema("image"),
  name: z.string().min(1).max(60),
  /** Version of this schema. */
  format: z.literal(1),
  architecture: z.literal("x86_64"),
  boot: bootSchema,
  disk: z.object({ file: fileName, format: z.enum(["qcow2", "raw"]), virtualSizeGiB: z.int().min(1).max(65536) }),
  /** What the guest expects of its machine beside the usual. */
  machine: z.object({ tpm: z.boolean(), hyperv: z.boolean() }).optional(),
  /** Below this the guest does not come up. */
  minMemoryMiB: z.int().min(16),
  osName: z.string().min(1).max(100),
  platform: z.string().min(1).max(60),
  /** Hex digest of each file by its name. */
  sha256: z.record(fileName, z.string().regex(/^[0-9a-f]{64}$/, "64 hexadecimal digits in lower case")),
  /** Belongs to the account whose row in SQL names it; without a row it is nobody's. */
  private: z.literal(true).optional(),
  /** What it was built from, for an image that we build: the same key means the same content. */
  built: z.object({ key: z.string(), packages: z.record(z.string(), z.string()) }).optional(),
});

export type ImageManifest = z.infer<typeof imageManifestSchema>;

/** The files of an image beside its manifest. */
export function imageFiles({ boot, disk }: ImageManifest): string[] {
  return boot.kind === "direct" ? [disk.file, boot.kernel, boot.initrd] : [disk.file];
}
