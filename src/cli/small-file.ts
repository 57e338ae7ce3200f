/** Files whose whole content is a parameter. A device that never ends, or the wrong file, must not be read to its end first. */
import { closeSync, openSync, readSync } from "node:fs";
import { usageError } from "./exit.ts";

/** The content of a file of so many bytes at most; `-` is standard input. */
export function readSmall(file: string, maxBytes: number): Buffer {
  const content = Buffer.alloc(maxBytes + 1);
  let length = 0;
  try {
    const descriptor = file === "-" ? 0 : openSync(file, "r");
    try {
      for (let read = -1; read !== 0 && length < content.length; length += read) {
        read = readSync(descriptor, content, length, content.length - length, null);
      }
    } finally {
      if (descriptor !== 0) closeSync(descriptor);
    }
  } catch (error) {
    throw usageError(`${file}: ${(error as Error).message}`);
  }
  if (length > maxBytes) throw usageError(`${file} is longer than the ${maxBytes} bytes that can be taken`);
  return content.subarray(0, length);
}
