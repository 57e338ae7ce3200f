/**
 * Keeps serial logs from filling the disk: of each instance the logs of its last starts are kept, and a log that has grown long is
 * cut to its end.
 *
 * virtlogd does this by itself where libvirt uses it; a libvirtd with `stdio_handler = "file"` lets a guest write without end.
 * The log is cut by copying its end aside and emptying the file under QEMU, which writes in append mode; what the guest
 * writes in the moment between is lost. The file itself must stay: its name is the trace that core/ensure.ts asks for.
 */
import { open, readdir, rename, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { temporaryName } from "../../lib/durable.ts";

export const longestLog = 4 * 2 ** 20;
const keptEnd = 2 ** 20;
const keptStarts = 3;

/** The serial logs of one instance's folder, newest start first, and of one start the newest part first. */
export async function consoleLogs(directory: string): Promise<{ file: string; incarnation: number; part: number }[]> {
  const logs = (await readdir(directory)).flatMap((name) => {
    const [, incarnation, part] = /^console-(\d+)\.log(?:\.(\d+))?$/.exec(name) ?? [];
    return incarnation === undefined
      ? []
      : [{ file: join(directory, name), incarnation: Number(incarnation), part: Number(part ?? -1) }];
  });
  return logs.toSorted((a, b) => b.incarnation - a.incarnation || a.part - b.part);
}

/** Cuts and removes what is too much in one instance's folder. */
export async function boundLogs(directory: string): Promise<void> {
  const logs = await consoleLogs(directory);
  const newest = logs[0]?.incarnation ?? 0;
  for (const { file, incarnation, part } of logs) {
    if (incarnation <= newest - keptStarts) await rm(file, { force: true });
    else if (part === -1 && (await stat(file)).size > longestLog) await cut(file);
  }
}

async function cut(file: string): Promise<void> {
  const aside = `${file}.0`;
  const temporary = temporaryName(aside);
  const from = await open(file, "r");
  try {
    const { size } = await from.stat();
    const end = Buffer.alloc(Math.min(size, keptEnd));
    await from.read(end, 0, end.length, size - end.length);
    const to = await open(temporary, "wx", 0o600);
    try {
      await to.writeFile(end);
    } finally {
      await to.close();
    }
  } finally {
    await from.close();
  }
  await rename(temporary, aside);
  await truncate(file);
}
