/** What is accepted, told by files that qemu-img makes where it is installed; what is refused, by files made byte by byte. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { afterAll, describe, expect, it } from "vitest";
import { diskFormats, ImportRefusal, type DiskFormat } from "../image.ts";
import { inspectDisk, type DiskFile } from "./inspect.ts";

const mib = 1 << 20;

function fileOf(content: Buffer): DiskFile {
  return { size: content.length, read: async (offset, length) => content.subarray(offset, offset + length) };
}

async function refusal(format: DiskFormat, content: Buffer): Promise<string> {
  try {
    await inspectDisk(format, fileOf(content));
    return "accepted";
  } catch (error) {
    if (error instanceof ImportRefusal) return error.code;
    throw error;
  }
}

/** A whole qcow2 header of version 3; `change` spoils it. */
function qcow2(change: (header: Buffer) => void = () => undefined): Buffer {
  const header = Buffer.alloc(4 * 65_536);
  header.write("QFI\xfb", 0, "latin1");
  header.writeUInt32BE(3, 4);
  header.writeUInt32BE(16, 20);
  header.writeBigUInt64BE(BigInt(mib), 24);
  header.writeUInt32BE(1, 36);
  header.writeBigUInt64BE(3n * 65_536n, 40);
  header.writeUInt32BE(104, 100);
  change(header);
  return header;
}

/** A raw disk with one partition, of `sectors`. */
function mbr(sectors: number, size: number): Buffer {
  const disk = Buffer.alloc(size);
  disk[446 + 4] = 0x83;
  disk.writeUInt32LE(1, 446 + 8);
  disk.writeUInt32LE(sectors, 446 + 12);
  disk.writeUInt16LE(0xaa55, 510);
  return disk;
}

function vmdk(descriptor: string, capacity = 2048n): Buffer {
  const file = Buffer.alloc(64 * 512);
  file.write("KDMV", 0, "latin1");
  file.writeBigUInt64LE(capacity, 12);
  file.writeBigUInt64LE(1n, 28);
  file.writeBigUInt64LE(20n, 36);
  file.write(`# Disk DescriptorFile\n${descriptor}`, 512, "latin1");
  return file;
}
const oneExtent = 'CID=1\nparentCID=ffffffff\ncreateType="monolithicSparse"\nRW 2048 SPARSE "disk.vmdk"\n';

function vhdFooter(type: number, virtualBytes: number, headerAt = 0xffffffffffffffffn): Buffer {
  const footer = Buffer.alloc(512);
  footer.write("conectix", 0, "latin1");
  footer.writeBigUInt64BE(headerAt, 16);
  footer.writeBigUInt64BE(BigInt(virtualBytes), 48);
  footer.writeUInt32BE(type, 60);
  return footer;
}

describe("qcow2", () => {
  const cases: [string, (header: Buffer) => void][] = [
    ["accepted", () => undefined],
    ["BackingFile", (it_) => it_.writeBigUInt64BE(512n, 8)],
    ["BackingFile", (it_) => it_.writeUInt32BE(9, 16)],
    ["Encrypted", (it_) => it_.writeUInt32BE(1, 32)],
    ["Encrypted", (it_) => it_.writeUInt32BE(2, 32)],
    ["Encrypted", (it_) => it_.writeUInt32BE(0x0537be77, 104)],
    ["ExternalData", (it_) => it_.writeBigUInt64BE(4n, 72)],
    ["ExternalData", (it_) => it_.writeUInt32BE(0x44415441, 104)],
    ["Damaged", (it_) => it_.writeBigUInt64BE(2n, 72)],
    ["WrongFormat", (it_) => it_.writeBigUInt64BE(1n << 40n, 72)],
    ["WrongFormat", (it_) => it_.writeUInt32BE(4, 4)],
    ["Truncated", (it_) => it_.writeBigUInt64BE(1n << 50n, 40)],
    ["Damaged", (it_) => it_.writeUInt32BE(40, 20)],
  ];
  it.each(cases)("%s", async (code, change) => expect(await refusal("qcow2", qcow2(change))).toBe(code));
  it("is refused where it ends within its header", async () =>
    expect(await refusal("qcow2", qcow2().subarray(0, 80))).toBe("Truncated"));
});

describe("raw", () => {
  it.each([
    ["accepted", mbr(2047, mib)],
    ["Truncated", mbr(4096, mib)],
    ["Truncated", mbr(2047, mib).subarray(0, mib - 1)],
    ["NoPartitionTable", Buffer.alloc(mib)],
    ["WrongFormat", qcow2()],
    ["WrongFormat", Buffer.concat([Buffer.from("\x1f\x8b", "latin1"), Buffer.alloc(1022)])],
    ["Truncated", Buffer.alloc(0)],
  ])("%s", async (code, content) => expect(await refusal("raw", content)).toBe(code));

  it("with a file system's boot sector, which has the signature of a table, has none", async () => {
    const fat = Buffer.alloc(mib);
    fat.write("\xeb\x3c\x90mkfs.fat", 0, "latin1");
    fat.fill(0x77, 62, 510);
    fat.writeUInt16LE(0xaa55, 510);
    expect(await refusal("raw", fat)).toBe("NoPartitionTable");
  });
});

describe("vmdk", () => {
  it.each([
    ["accepted", vmdk(oneExtent)],
    ["BackingFile", vmdk(oneExtent.replace("ffffffff", "0a1b2c3d"))],
    ["BackingFile", vmdk(`${oneExtent}parentFileNameHint="/etc/shadow"\n`)],
    ["ExternalData", vmdk(oneExtent.replace("monolithicSparse", "monolithicFlat"))],
    ["ExternalData", vmdk(`${oneExtent}RW 2048 FLAT "/etc/shadow" 0\n`)],
    ["ExternalData", vmdk(oneExtent, 0n)],
    ["Damaged", vmdk("nothing\n")],
    ["ExternalData", Buffer.from('# Disk DescriptorFile\ncreateType="monolithicFlat"\nRW 1 FLAT "/etc/shadow" 0\n')],
    ["WrongFormat", qcow2()],
  ])("%s", async (code, content) => expect(await refusal("vmdk", content)).toBe(code));
});

describe("vhd", () => {
  const fixed = Buffer.concat([Buffer.alloc(mib), vhdFooter(2, mib)]);
  it.each([
    ["accepted", fixed],
    ["WrongFormat", fixed.subarray(0, mib)],
    ["Truncated", Buffer.concat([vhdFooter(3, mib), Buffer.alloc(mib)])],
    ["Truncated", Buffer.concat([Buffer.alloc(512), vhdFooter(2, mib)])],
    ["BackingFile", Buffer.concat([vhdFooter(4, mib), Buffer.alloc(mib), vhdFooter(4, mib)])],
    ["Damaged", Buffer.concat([vhdFooter(3, mib, 512n), Buffer.alloc(2048), vhdFooter(3, mib, 512n)])],
  ])("%s", async (code, content) => expect(await refusal("vhd", content)).toBe(code));
});

describe("any file as any format", () => {
  it("is accepted or refused with a reason, and never anything else", () =>
    fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...diskFormats),
        fc.constantFrom(
          qcow2(),
          mbr(2047, mib),
          vmdk(oneExtent),
          Buffer.concat([vhdFooter(3, mib, 512n), Buffer.alloc(4096)]),
        ),
        fc.array(fc.tuple(fc.nat(2048), fc.nat(255)), { maxLength: 12 }),
        fc.nat(5000),
        async (format, base, bytes, cut) => {
          const content = Buffer.from(base.subarray(0, base.length - cut));
          for (const [at, byte] of bytes) if (at < content.length) content[at] = byte;
          expect(typeof (await refusal(format, content))).toBe("string");
        },
      ),
    ));
});

describe.skipIf(!existsSync("/usr/bin/qemu-img"))("what qemu-img makes", () => {
  const directory = mkdtempSync(join(tmpdir(), "vstation-inspect-"));
  afterAll(() => rmSync(directory, { recursive: true }));
  const raw = join(directory, "disk.raw");
  writeFileSync(raw, mbr(4000, 4 * mib));

  it.each([
    ["qcow2", "qcow2", []],
    ["qcow2", "qcow2", ["-o", "compat=0.10"]],
    ["qcow2", "qcow2", ["-c", "-o", "compression_type=zstd"]],
    ["vmdk", "vmdk", []],
    ["vmdk", "vmdk", ["-o", "subformat=streamOptimized"]],
    ["vhd", "vpc", []],
    ["vhd", "vpc", ["-o", "subformat=fixed,force_size=on"]],
  ] as const)("%s (%s %j) is accepted, and not when its end is missing", async (format, driver, options) => {
    const file = join(directory, `disk.${format}`);
    execFileSync("qemu-img", ["convert", "-f", "raw", "-O", driver, ...options, raw, file]);
    const whole = readFileSync(file);
    expect((await inspectDisk(format, fileOf(whole))).virtualBytes).toBeGreaterThanOrEqual(4 * mib);
    if (format !== "vhd") return;
    truncateSync(file, whole.length - 1024);
    expect(await refusal(format, readFileSync(file))).not.toBe("accepted");
  });
});
