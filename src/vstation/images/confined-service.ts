/**
 * {@link Confined} where VStation is a service without rights: systemd has them, and starts vstation-convert@.service for each connection
 * to its socket (packaging/systemd). What the program cannot do is said there and nowhere here; a VStation that was taken over could
 * have no more done by it than that.
 *
 * What is said to it, and what comes back, is in packaging/convert.sh. Our end of the connection is its life: it is killed when we close our
 * half, and when this process dies. Only its own close is the end.
 */
import { connect } from "node:net";
import { constants } from "node:os";
import { ImportRefusal } from "../../core/image.ts";
import type { Confined, Outcome } from "./confined.ts";

/** Of what a program says, so much is kept. */
export const longestTail = 4_000;
const socketPath = "/run/vstation-convert.sock";
/** It is killed at once; what does not even close then is left to systemd. */
const endMs = 10_000;

export function runByService(it: Confined, words: readonly string[], late: AbortSignal): Promise<Outcome> {
  const signal = AbortSignal.any([it.signal, late]);
  let said = "";
  return new Promise((resolve, reject) => {
    const socket = connect({ path: socketPath, allowHalfOpen: true });
    let there = false;
    const end = (): void => {
      socket.end();
      setTimeout(() => socket.destroy(), endMs).unref();
    };
    signal.addEventListener("abort", end);
    socket.once("connect", () => {
      there = true;
      socket.write(`${words.join("\n")}\n\n`);
      if (signal.aborted) end();
    });
    socket.on("data", (text: Buffer) => {
      said = (said + text.toString()).slice(-longestTail);
      it.onOutput?.(text.toString());
    });
    socket.on("end", () => socket.end());
    socket.on("error", (cause) => {
      if (there) return;
      reject(
        new ImportRefusal(
          "ConversionFailed",
          "images are converted by vstation-convert.socket, which is not there: docs/install.md says how it is set up",
          cause,
        ),
      );
    });
    socket.on("close", () => {
      signal.removeEventListener("abort", end);
      resolve({ ...outcomeOf(said), late: late.aborted });
    });
  });
}

/** Its last line says how it ended; without one it was killed together with whoever would have said so. */
export function outcomeOf(said: string): Omit<Outcome, "late"> {
  const found = /\n?^exit (\d{1,3})\n$/m.exec(said);
  const status = found === null ? 128 + constants.signals.SIGKILL : Number(found[1]);
  const killedBy = signals.get(status - 128) ?? null;
  const text = found === null ? said : said.slice(0, found.index);
  return { code: killedBy === null ? status : null, killedBy, said: text.trim() };
}

/** As a shell tells of them, by their number. */
const signals: ReadonlyMap<number, NodeJS.Signals> = new Map(
  Object.entries(constants.signals).map(([name, number]) => [number, name as NodeJS.Signals]),
);
