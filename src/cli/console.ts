/**
 * `instance console`: the serial console at a person's terminal, through restarts of the guest.
 *
 * One loop: open, pass bytes both ways until it ends, then ask what became of the instance. Where it runs or will run again
 * the console opens anew; where it is stopped we wait for its next change (an event, not a clock); where it is gone we leave.
 * What the guest wrote while nobody was connected is taken from its log, behind what was shown last.
 *
 * Input typed while there is no console goes nowhere, as on a real terminal; only the escape is always heard.
 */
import type { NativeClient } from "../api/native/client.ts";
import { openConsole, type ConsoleLink } from "../api/native/console.ts";
import { followChanges } from "../api/native/follow.ts";
import { after } from "../api/native/splice.ts";
import { Failure, isFailure } from "../lib/errors.ts";
import type { InstanceId } from "../lib/ids.ts";
import { backoff, sleep } from "../lib/retry.ts";
import type { InstanceState } from "../core/instance.ts";
import type { Context } from "./context.ts";
import { openKeyboard } from "./terminal.ts";

export interface ConsoleFlags {
  history: number;
  /** A pipe as input: leave when it has ended and the console was silent for so long. */
  lingerMs: number;
}

const keptBytes = 4096;
const catchUpBytes = 262_144;
/** Our own session may take a moment to be let go of after a break. */
const busyTries = 5;

/** Runs until the person leaves, the input ends, or the instance is gone. */
export async function attachConsole(context: Context, id: InstanceId, flags: ConsoleFlags): Promise<void> {
  const { client, io } = context;
  const leave = new AbortController();
  const signal = AbortSignal.any([io.signal, leave.signal]);
  let link: ConsoleLink | undefined;
  let shown: Uint8Array = new Uint8Array();
  const say = (text: string): void => io.err(io.stdin.isTTY ? `\r\n[${text}]\r\n` : `[${text}]\n`);

  const silence = new Silence(flags.lingerMs);
  using resources = new DisposableStack();
  const listen = (): void => {
    const keyboard = resources.use(openKeyboard(io, (data) => link?.write(data)));
    void keyboard.left.then(() => leave.abort());
    void keyboard.ended.then(() => silence.begin(() => leave.abort()));
  };
  // A person may want to leave before there is a console; what a pipe holds is for the console and waits for it.
  if (io.stdin.isTTY) listen();
  signal.addEventListener("abort", () => link?.close(), { once: true });

  const show = (data: Uint8Array): void => {
    if (data.length === 0) return;
    silence.broken();
    io.stdout.write(data);
    shown = Buffer.concat([shown, data]).subarray(-keptBytes);
  };

  try {
    for (
      let connected = 0, failures = 0;
      await waitUntilRunning({ client, id, signal, say, connectedBefore: connected > 0, patient: io.stdin.isTTY });
      failures++
    ) {
      if (signal.aborted) break;
      try {
        const again = connected > 0;
        link = await openConsole(client, id, {
          history: again ? catchUpBytes : flags.history,
          onOutput: (data, past) => show(past && again ? after(shown, data) : data),
        });
        if (signal.aborted) link.close();
        else say(again ? "connected again" : `connected to ${id}${io.stdin.isTTY ? "; Ctrl-] leaves" : ""}`);
        if (!again && !io.stdin.isTTY) listen();
        connected++;
        failures = 0;
        const reason = await link.ended;
        link = undefined;
        if (!signal.aborted) say(reason);
      } catch (error) {
        if (!signal.aborted && !mends(error, connected, failures)) throw error;
      }
      await sleep(backoff(failures, 300, 5000), signal).catch(() => undefined);
    }
  } finally {
    silence.end();
  }
  io.signal.throwIfAborted();
}

/** Whether a console that did not open may open soon. */
function mends(error: unknown, connected: number, failures: number): boolean {
  if (isFailure(error, "unavailable", "timeout")) return connected > 0;
  // The guest is between two lives: what it is now is asked next.
  if (isFailure(error, "conflict")) return connected > 0 && failures < busyTries;
  return isFailure(error, "not_found") && connected > 0;
}

/**
 * False when the instance is gone for good. A guest that is still being started is waited for, so that its first words are
 * not missed. Before the first console an instance that is not there is the caller's mistake, and thrown.
 */
async function waitUntilRunning(wait: {
  client: NativeClient;
  id: InstanceId;
  signal: AbortSignal;
  say: (text: string) => void;
  connectedBefore: boolean;
  /** A person may wait for somebody to start it; what a pipe holds would wait for ever. */
  patient: boolean;
}): Promise<boolean> {
  const { client, id, signal, say, connectedBefore, patient } = wait;
  let told: InstanceState | undefined;
  const look = async (): Promise<"open" | "wait" | "gone"> => {
    try {
      const { state, attention } = await client.call("instanceGet", { params: { id } }, { signal });
      if (state === "RUNNING" || state === "REBOOTING") return "open";
      if (state === "STOPPED" && !patient && !connectedBefore) {
        throw new Failure("conflict", "WrongState", `${id} is STOPPED; \`./vstation instance start ${id}\` first`);
      }
      if (state !== told) say(`${id} is ${state}${attention === null ? "" : `: ${attention}`}; waiting for it`);
      told = state;
      if (state !== "LAUNCH_FAILED") return "wait";
      if (connectedBefore) return "gone";
      throw new Failure("conflict", "WrongState", `${id} was never started: ${attention ?? "its launch failed"}`);
    } catch (error) {
      if (signal.aborted) return "wait";
      if (!connectedBefore || !isFailure(error, "unavailable", "timeout", "not_found")) throw error;
      if (!isFailure(error, "not_found")) return "wait";
      say(`${id} is gone`);
      return "gone";
    }
  };
  const first = await look();
  if (first !== "wait" || signal.aborted) return first !== "gone";
  for await (const item of followChanges(client, { signal })) {
    if (item.is === "change" && item.event.subjectId !== id) continue;
    const now = await look();
    if (now !== "wait") return now === "open";
  }
  return true;
}

/** Calls back after so long without output, once the input has ended. */
class Silence {
  readonly #ms: number;
  #timer: NodeJS.Timeout | undefined;
  #then: (() => void) | undefined;

  constructor(ms: number) {
    this.#ms = ms;
  }

  begin(then: () => void): void {
    this.#then = then;
    this.broken();
  }

  broken(): void {
    if (this.#then === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(this.#then, this.#ms);
  }

  end(): void {
    clearTimeout(this.#timer);
  }
}
