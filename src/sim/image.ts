/**
 * What a simulated host sends as the copy of a disk: a real qcow2 of the disk's size with a partition table and nothing else, made by
 * hand, over the same listener and with the same proof as a real host's. The importer takes it like any other.
 */
import { request } from "node:https";
import { Failure } from "../lib/errors.ts";
import type { ImageId } from "../lib/ids.ts";
import type { SimIdentity } from "./join.ts";

const cluster = 65_536;
const gib = 2 ** 30;
/** "Used by nobody else" of an entry in a qcow2's tables. */
const copied = 1n << 63n;

/** Clusters: header, refcount table, refcounts, L1 table, L2 table, and the first of the disk (docs/interop/qcow2.txt in QEMU). */
export function simDisk(sizeGiB: number): Buffer {
  const disk = Buffer.alloc(6 * cluster);
  disk.write("QFI\xfb", 0, "latin1");
  disk.writeUInt32BE(3, 4);
  disk.writeUInt32BE(16, 20);
  disk.writeBigUInt64BE(BigInt(sizeGiB * gib), 24);
  disk.writeUInt32BE(sizeGiB * 2, 36);
  disk.writeBigUInt64BE(BigInt(3 * cluster), 40);
  disk.writeBigUInt64BE(BigInt(cluster), 48);
  disk.writeUInt32BE(1, 56);
  disk.writeUInt32BE(4, 96);
  disk.writeUInt32BE(104, 100);
  disk.writeBigUInt64BE(BigInt(2 * cluster), cluster);
  for (let i = 0; i < 6; i++) disk.writeUInt16BE(1, 2 * cluster + 2 * i);
  disk.writeBigUInt64BE(copied | BigInt(4 * cluster), 3 * cluster);
  disk.writeBigUInt64BE(copied | BigInt(5 * cluster), 4 * cluster);
  const sector = disk.subarray(5 * cluster);
  sector[446 + 4] = 0x83;
  sector.writeUInt32LE(2048, 446 + 8);
  sector.writeUInt32LE(2048, 446 + 12);
  sector.writeUInt16LE(0xaa55, 510);
  return disk;
}

/** In one part; resolves when VStation has it. */
export function simSendImage(server: string, identity: SimIdentity, id: ImageId, content: Buffer): Promise<void> {
  const { ca, certificate: cert, key } = identity;
  return new Promise((resolve, reject) => {
    const failed = (cause: unknown): void => reject(new Failure("unavailable", "ServerAway", "not taken", { cause }));
    const path = `/images/${id}/content?offset=0&total=${content.length}`;
    const headers = { "content-length": content.length };
    const options = { method: "PUT", ca, cert, key, headers, timeout: 10_000, agent: false } as const;
    const sent = request(`https://${server}${path}`, options, (answer) => {
      answer.resume();
      if (answer.statusCode === 200) resolve();
      else failed(new Error(`it answered ${answer.statusCode}`));
    });
    sent.on("timeout", () => sent.destroy(new Error("no answer in time")));
    sent.on("error", failed);
    sent.end(content);
  });
}
