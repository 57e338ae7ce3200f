/** Images in memory, for tests of the wire and of what the CLI prints; see cloud.fake.ts. */
import { failure } from "../../core/failure-codes.ts";
import { plainMachine } from "../../core/image.ts";
import type { ImageId } from "../../lib/ids.ts";
import type { Images, ImageView } from "../cloud/images.ts";

export const fakeImage = "img-aaaaaaa1" as ImageId;
const start = new Date("2026-01-02T03:04:05.000Z");

const tinyImage: ImageView = {
  id: fakeImage,
  accountId: null,
  name: "tiny",
  description: "",
  state: "NORMAL",
  source: "OFFICIAL",
  progress: 100,
  step: null,
  failure: null,
  received: null,
  osName: "Debian 12 (tiny)",
  platform: "Debian",
  boot: "direct",
  machine: plainMachine,
  minMemoryMiB: 64,
  sizeBytes: 0,
  createdAt: start,
  manifest: {
    id: fakeImage,
    name: "tiny",
    format: 1,
    architecture: "x86_64",
    boot: { kind: "direct", kernel: "vmlinuz", initrd: "initrd", cmdline: "console=ttyS0" },
    disk: { file: "disk.qcow2", format: "qcow2", virtualSizeGiB: 1 },
    minMemoryMiB: 64,
    osName: "Debian 12 (tiny)",
    platform: "Debian",
    sha256: {},
  },
};

/** `act` is how the cloud in memory notes a call and fails it when told to. */
export function fakeImages(act: <T>(call: string, args: unknown[], work: () => T) => Promise<T>): Images {
  return {
    list: (caller, query, page) =>
      act("images.list", [caller, query, page], () => {
        const found = [tinyImage].filter((image) => query.name === undefined || image.name === query.name);
        return { total: found.length, items: found.slice(page.offset, page.offset + page.limit) };
      }),
    get: (caller, id) => act("images.get", [caller, id], () => imageOf(id)),
    import: (caller, request) =>
      act("images.import", [caller, request], () => (request.dryRun ? undefined : tinyImage)),
    create: (caller, request) =>
      act("images.create", [caller, request], () => (request.dryRun ? undefined : tinyImage)),
    receive: async (caller, id, offset, content) => {
      let received = offset;
      for await (const part of content) received += part.byteLength;
      return act("images.receive", [caller, id, offset], () => ({ received }));
    },
    digest: (caller, id, part) => act("images.digest", [caller, id, part], () => "0".repeat(64)),
    modify: (caller, id, change) => act("images.modify", [caller, id, change], () => imageOf(id)),
    delete: (caller, ids, options) =>
      act("images.delete", [caller, ids, options], () => {
        for (const id of ids) imageOf(id);
      }),
    quota: (caller) => act("images.quota", [caller], () => ({ limit: 100, used: 1 })),
  };
}

function imageOf(id: ImageId): ImageView {
  if (id !== fakeImage) throw failure("ImageNotFound", `there is no image ${id}`);
  return tinyImage;
}
