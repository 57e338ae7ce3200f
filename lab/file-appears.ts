/** Waiting for a file that another process makes: woken by its folder, not by a clock. */
import { existsSync, watch } from "node:fs";
import { dirname } from "node:path";

/** Resolves when the file is there; rejects with the signal's reason when it aborts. The file's folder must exist. */
export async function fileAppears(file: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const watcher = watch(dirname(file));
  // A watcher that is told to end by a signal only closes, which would leave the wait below without an end of its own.
  let abort: () => void = () => undefined;
  try {
    await new Promise<void>((resolve, reject) => {
      const look = (): void => {
        if (existsSync(file)) resolve();
      };
      abort = () => reject(signal.reason instanceof Error ? signal.reason : new Error("aborted"));
      signal.addEventListener("abort", abort);
      watcher.on("change", look);
      watcher.on("error", reject);
      look();
    });
  } finally {
    signal.removeEventListener("abort", abort);
    watcher.close();
  }
}
