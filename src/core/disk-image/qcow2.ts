/**
 * qcow2, by docs/interop/qcow2.txt of QEMU: its header and header extensions. Accepted is one file that holds everything: no backing
 * file, no external data file, no encryption, no feature that we do not know by name. That its tables lie within the file, and
 * its data too, is checked by `qemu-img check` afterwards; here only what decides whether it may be opened at all.
 */
import { ImportRefusal } from "../image.ts";
import type { DiskFile } from "./inspect.ts";

const extensionEnd = 0;
const extensionData = 0x44415441;
const extensionEncryption = 0x0537be77;

const incompatible = { dirty: 1n, corrupt: 2n, externalData: 4n, compression: 8n, extendedL2: 16n };
const known = Object.values(incompatible).reduce((all, bit) => all | bit, 0n);

export async function inspectQcow2(file: DiskFile): Promise<{ virtualBytes: number }> {
  const head = await file.read(0, 65_536);
  if (head.length < 72) throw new ImportRefusal("Truncated", "the file ends within the qcow2 header");
  if (head.toString("latin1", 0, 4) !== "QFI\xfb") throw new ImportRefusal("WrongFormat", "the file is no qcow2");
  const version = head.readUInt32BE(4);
  if (version !== 2 && version !== 3) throw new ImportRefusal("WrongFormat", `qcow2 version ${version} is not known`);
  if (head.readBigUInt64BE(8) !== 0n || head.readUInt32BE(16) !== 0) throw backingFile();
  if (head.readUInt32BE(32) !== 0) throw encrypted();
  let headerLength = 72;
  if (version === 3) {
    if (head.length < 104) throw new ImportRefusal("Truncated", "the file ends within the qcow2 header");
    headerLength = head.readUInt32BE(100);
    checkFeatures(head.readBigUInt64BE(72));
  }
  checkExtensions(head, headerLength);
  const clusterBits = head.readUInt32BE(20);
  if (clusterBits < 9 || clusterBits > 21) throw new ImportRefusal("Damaged", "its cluster size is impossible");
  const l1Bytes = BigInt(head.readUInt32BE(36)) * 8n;
  if (head.readBigUInt64BE(40) + l1Bytes > BigInt(file.size)) {
    throw new ImportRefusal("Truncated", "the file ends before its own table of clusters");
  }
  return { virtualBytes: Number(head.readBigUInt64BE(24)) };
}

function checkFeatures(features: bigint): void {
  if ((features & incompatible.externalData) !== 0n) throw externalData();
  if ((features & incompatible.corrupt) !== 0n) {
    throw new ImportRefusal("Damaged", "it is marked as corrupt: run `qemu-img check -r all` on it first");
  }
  if ((features & ~known) !== 0n) {
    throw new ImportRefusal(
      "WrongFormat",
      `it uses qcow2 features that are not known here (0x${features.toString(16)})`,
    );
  }
}

function checkExtensions(head: Buffer, headerLength: number): void {
  for (let at = headerLength; at + 8 <= head.length;) {
    const type = head.readUInt32BE(at);
    if (type === extensionEnd) return;
    if (type === extensionData) throw externalData();
    if (type === extensionEncryption) throw encrypted();
    at += 8 + Math.ceil(head.readUInt32BE(at + 4) / 8) * 8;
  }
  // Version 2 without extensions may have anything here that is no type; a header that never ends is none.
}

function backingFile(): ImportRefusal {
  return new ImportRefusal(
    "BackingFile",
    "it has a backing file, which is not part of it: flatten it with `qemu-img convert -O qcow2` first",
  );
}

function externalData(): ImportRefusal {
  return new ImportRefusal("ExternalData", "its data lies in another file: flatten it with `qemu-img convert` first");
}

function encrypted(): ImportRefusal {
  return new ImportRefusal("Encrypted", "it is encrypted: decrypt it with `qemu-img convert` first");
}
