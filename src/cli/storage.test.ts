/** Disks, snapshots, and the file that an image is made of. */
import { createHash } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failure } from "../core/failure-codes.ts";
import { fakeImage } from "../vstation/native/images.fake.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

describe("disks and snapshots", () => {
  it("are made, put in, grown, limited, copied, put back and deleted", async () => {
    const instance = (await cli("instance run --name web --json")).out.match(/ins-\w+/)?.[0] ?? "";
    expect(await cli("disk create data --size 20 --mbps 100 --wait")).toMatchObject({
      code: 0,
      out: "disk-00000001\n",
    });
    expect(here.cloud.disks.all[0]).toMatchObject({ sizeGiB: 20, limits: { bytes: 100_000_000, iops: null } });
    expect((await cli("disk attach data --to web --wait")).out).toBe("disk-00000001: ATTACHED\n");
    expect((await cli("disk attach data --to web")).out).toBe(`disk-00000001: being attached to ${instance}\n`);
    await cli("disk resize data 40 --wait");
    await cli("disk set data --iops 500");
    await cli("disk set data --mbps 0");
    expect(here.cloud.disks.all[0]).toMatchObject({ sizeGiB: 40, limits: { bytes: null, iops: 500 } });
    expect((await cli("disk list")).out).toMatchInlineSnapshot(`
      "ID             NAME  USAGE  TYPE         ON      GiB  STATE     INSTANCE      AGE
      disk-00000001  data  data   CLOUD_BASIC  shared   40  ATTACHED  ins-00000001  5m
      "
    `);
    expect((await cli("snapshot create data --name before --wait")).out).toBe("snap-00000001\n");
    expect((await cli("snapshot list")).out).toMatchInlineSnapshot(`
      "ID             NAME    DISK           GiB  STATE   TAKES MiB  AGE
      snap-00000001  before  disk-00000001   10  NORMAL          1  5m
      "
    `);
    expect((await cli("snapshot apply before --to data --yes --wait")).code).toBe(0);
    expect((await cli("disk detach data --wait")).out).toBe("disk-00000001: UNATTACHED\n");
    expect((await cli("snapshot delete before --yes")).out).toBe("deleted snap-00000001\n");
    expect((await cli("disk delete data --yes")).out).toBe("deleted disk-00000001\n");
  });

  it("say what did not come about, with the exit code of a failure", async () => {
    await cli("disk create data --size 20");
    const [disk] = here.cloud.disks.all;
    if (disk === undefined) throw new Error("no disk");
    here.cloud.disks.detach = async () => void (disk.problem = "the guest did not let go of it in time");
    disk.instanceId = "ins-00000001" as never;
    disk.state = "ATTACHED";
    const failed = await cli("disk detach data --wait");
    expect(failed.code).toBe(1);
    expect(failed.err).toContain("did not let go");
    expect(await cli("disk create empty")).toMatchObject({ code: 2 });
    expect(await cli("disk delete nothing --yes")).toMatchObject({ code: 3 });
  });
});

describe("an image's file", () => {
  it("is looked at before an image is made of it", async () => {
    expect((await cli(`image import ${here.home} --format raw`)).err).toContain("is no file");
    expect((await cli("image import /dev/zero --format raw")).err).toContain("is no file");
    expect((await cli("image import ftp://example.org/a.raw --format raw")).err).toContain("a URL is http or https");
    expect(here.cloud.seen.filter(({ call }) => call.startsWith("images."))).toEqual([]);
  });

  it("is sent once, also when the answer to its last part is lost", async () => {
    let parts = 0;
    here.cloud.images.receive = async (_caller, _id, _offset, content) => {
      for await (const part of content) parts += part.byteLength > 0 ? 1 : 0;
      throw failure("DeadlineExceeded", "late");
    };
    const file = join(here.home, "disk.raw");
    writeFileSync(file, "a disk");
    expect(await cli(`image import ${file} --format raw --wait`)).toMatchObject({ code: 0, out: `${fakeImage}\n` });
    expect(parts).toBe(1);
  });
});

describe("an image's file that was cut off", () => {
  const begin = (text: string, arrived: string): string => {
    const file = join(here.home, "disk.raw");
    writeFileSync(file, text);
    const { images } = here.cloud;
    images.import = async (caller) => ({ ...(await images.get(caller, fakeImage)), received: arrived.length });
    images.digest = async (_caller, _id, { offset, bytes }) =>
      createHash("sha256")
        .update(arrived.slice(offset, offset + bytes))
        .digest("hex");
    return file;
  };

  it("goes on where it was, and says so", async () => {
    const file = begin("a disk of sixteen", "a disk");
    const run = await cli(`image import ${file} --format raw`);
    expect(run).toMatchObject({ code: 0, err: expect.stringContaining(`${fakeImage}: resuming at 35 %\n`) as string });
    expect(here.cloud.seen.findLast(({ call }) => call === "images.receive")?.args).toContain(6);
  });

  it("is not mixed with another file's", async () => {
    const file = begin("a disk of sixteen", "A disk");
    const run = await cli(`image import ${file} --format raw`);
    expect(run).toMatchObject({ code: 4, err: expect.stringContaining("(ImageFileDiffers)\n  next: send") as string });
    expect(here.cloud.seen.some(({ call }) => call === "images.receive")).toBe(false);
  });
});
