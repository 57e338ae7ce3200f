/** The simulated copy of a disk is one that the importer takes. */
import { expect, it } from "vitest";
import { inspectDisk } from "../core/disk-image/inspect.ts";
import { simDisk } from "./image.ts";

it.each([1, 50, 2048])("a simulated disk of %i GiB is a whole qcow2 of that size", async (sizeGiB) => {
  const content = simDisk(sizeGiB);
  const file = { size: content.length, read: async (at: number, length: number) => content.subarray(at, at + length) };
  expect(await inspectDisk("qcow2", file)).toEqual({ virtualBytes: sizeGiB * 2 ** 30 });
});
