/**
 * The end that somebody asks of a long run, by Ctrl-C or by a signal. One Ctrl-C comes several times: from the terminal to all who run in it, and from npm and
 * the setup, which each pass theirs on. Taken for a second wish, its echo would end a run in the middle of its clearing up.
 */
import { performance } from "node:perf_hooks";

const echoMs = 1_000;
const statusOf = { SIGINT: 130, SIGTERM: 143 } as const;

/** `begin` is called with the first; one that comes later than an echo ends the process at once, whatever it leaves. */
export function onInterrupt(begin: (signal: keyof typeof statusOf) => void): void {
  let firstAt: number | undefined;
  for (const name of ["SIGINT", "SIGTERM"] as const) {
    process.on(name, () => {
      if (firstAt === undefined) {
        firstAt = performance.now();
        begin(name);
      } else if (performance.now() - firstAt > echoMs) process.exit(statusOf[name]);
    });
  }
}
