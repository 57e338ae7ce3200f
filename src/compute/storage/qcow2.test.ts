import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, test } from "vitest";
import { overlayHeader, qcow2Size, readOverlay, writeOverlay } from "./qcow2.ts";

const directory = mkdtempSync(join(tmpdir(), "vstation-qcow2-"));
afterAll(() => rmSync(directory, { recursive: true }));

const gib = 2 ** 30;

describe("overlayHeader", () => {
  test("keeps the magic, the size and the backing file's name where the format has them", () => {
    const header = Buffer.from(
      overlayHeader({ size: 10 * gib, backing: { file: "/images/base.qcow2", format: "qcow2" } }),
    );
    expect(header.toString("latin1", 0, 4)).toBe("QFI\xfb");
    expect(header.readBigUInt64BE(24)).toBe(BigInt(10 * gib));
    const at = Number(header.readBigUInt64BE(8));
    expect(header.toString("utf8", at, at + header.readUInt32BE(16))).toBe("/images/base.qcow2");
  });

  test("refuses a name that the format cannot hold", () => {
    expect(() => overlayHeader({ size: gib, backing: { file: "x".repeat(1024), format: "raw" } })).toThrow(/too long/);
  });
});

// qemu-img is the judge where it is installed; the format is QEMU's own.
describe.skipIf(!existsSync("/usr/bin/qemu-img"))("writeOverlay, judged by qemu-img", () => {
  const base = join(directory, "base.qcow2");

  test.each([1, 10, 511, 512, 513, 4096, 16384])("an overlay of %i GiB is whole", async (sizeGib) => {
    if (!existsSync(base)) execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", base, "1G"]);
    const file = join(directory, `overlay-${sizeGib}.qcow2`);
    await writeOverlay(file, { size: sizeGib * gib, backing: { file: base, format: "qcow2" } });
    execFileSync("qemu-img", ["check", "-q", file]);
    const info = JSON.parse(execFileSync("qemu-img", ["info", "--output=json", file], { encoding: "utf8" })) as Record<
      string,
      unknown
    >;
    expect(info).toMatchObject({
      "virtual-size": sizeGib * gib,
      "cluster-size": 65536,
      "backing-filename": base,
      "backing-filename-format": "qcow2",
      format: "qcow2",
    });
    expect(await qcow2Size(file)).toBe(sizeGib * gib);
    expect(await readOverlay(file)).toEqual({ size: sizeGib * gib, backing: { file: base, format: "qcow2" } });
    // Writing through it allocates, so the refcounts must be right.
    execFileSync("qemu-io", ["-c", "write -P 7 0 256k", "-c", `write -P 9 ${sizeGib * gib - 65536} 64k`, file]);
    execFileSync("qemu-img", ["check", "-q", file]);
  });

  test("a disk that stands on nothing is whole and reads zeroes", async () => {
    const file = join(directory, "empty.qcow2");
    await writeOverlay(file, { size: 3 * gib, backing: null });
    execFileSync("qemu-img", ["check", "-q", file]);
    execFileSync("qemu-io", ["-c", "read -P 0 0 64k", "-c", `write -P 9 ${3 * gib - 65536} 64k`, file]);
    execFileSync("qemu-img", ["check", "-q", file]);
    expect(await qcow2Size(file)).toBe(3 * gib);
  });

  test.each(["1.1", "0.10"])("what a disk of QEMU's own making (%s) stands on is read", async (compat) => {
    if (!existsSync(base)) execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", base, "1G"]);
    const file = join(directory, `theirs-${compat}.qcow2`);
    const options = ["-o", `compat=${compat}`, "-b", base, "-F", "qcow2"];
    execFileSync("qemu-img", ["create", "-q", "-f", "qcow2", ...options, file, "3G"]);
    expect(await readOverlay(file)).toEqual({ size: 3 * gib, backing: { file: base, format: "qcow2" } });
    execFileSync("qemu-img", ["rebase", "-u", "-f", "qcow2", "-b", "", file]);
    expect(await readOverlay(file)).toEqual({ size: 3 * gib, backing: null });
  });

  test("never writes over a file that is there", async () => {
    const file = join(directory, "once.qcow2");
    await writeOverlay(file, { size: gib, backing: { file: base, format: "qcow2" } });
    await expect(writeOverlay(file, { size: gib, backing: { file: base, format: "qcow2" } })).rejects.toThrow(/EEXIST/);
  });
});
