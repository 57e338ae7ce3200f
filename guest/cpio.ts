/** Writes a `newc` cpio archive, the form of an initramfs. Times, owners and inode numbers are fixed: equal content, equal bytes. */
import { unreachable } from "../src/lib/errors.ts";

export type CpioEntry =
  | { kind: "directory"; path: string }
  | { kind: "file"; path: string; mode: number; content: Buffer }
  | { kind: "link"; path: string; target: string };

/** The archive of these entries, in their order; a directory stands before what is in it. Paths have no leading slash. */
export function cpio(entries: readonly CpioEntry[]): Buffer {
  const parts: Buffer[] = [];
  entries.forEach((entry, index) => {
    const [mode, content] = body(entry);
    parts.push(...record(entry.path, index + 1, mode, content));
  });
  parts.push(...record("TRAILER!!!", 0, 0, Buffer.alloc(0)));
  return Buffer.concat(parts);
}

function body(entry: CpioEntry): [mode: number, content: Buffer] {
  switch (entry.kind) {
    case "directory":
      return [0o040755, Buffer.alloc(0)];
    case "file":
      return [0o100000 | entry.mode, entry.content];
    case "link":
      return [0o120777, Buffer.from(entry.target)];
    default:
      return unreachable(entry);
  }
}

function record(path: string, inode: number, mode: number, content: Buffer): Buffer[] {
  const name = Buffer.from(`${path}\0`);
  // ino mode uid gid nlink mtime filesize devmajor devminor rdevmajor rdevminor namesize check
  const fields = [inode, mode, 0, 0, 1, 0, content.length, 0, 0, 0, 0, name.length, 0];
  const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`);
  return [header, name, pad(header.length + name.length), content, pad(content.length)];
}

function pad(length: number): Buffer {
  return Buffer.alloc((4 - (length % 4)) % 4);
}
