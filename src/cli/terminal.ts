/**
 * A person's terminal in raw mode: every key goes to the guest, but for the one that leaves.
 *
 * Raw mode outlives a process that dies in it, so it is given back on every way out; the one that cannot be caught is SIGKILL
 * (`stty sane` mends that).
 */
import type { Io } from "./io.ts";

/** Ctrl-], as telnet and virsh have it. */
export const escapeByte = 0x1d;

export interface Typed {
  data: Buffer;
  /** The escape was typed, or there is no more input. */
  leave: boolean;
}

/** What of these bytes goes to the guest, and whether the person leaves. */
export function typed(chunk: Buffer): Typed {
  const at = chunk.indexOf(escapeByte);
  return at < 0 ? { data: chunk, leave: false } : { data: chunk.subarray(0, at), leave: true };
}

export interface Keyboard extends Disposable {
  /** Resolves when the person leaves by the escape. */
  readonly left: Promise<void>;
  /** Resolves when the input ends (a pipe, not a person). */
  readonly ended: Promise<void>;
}

/** Passes what is typed to `onInput`; in raw mode when it is a terminal. */
export function openKeyboard(io: Io, onInput: (data: Buffer) => void): Keyboard {
  const { stdin } = io;
  const left = Promise.withResolvers<void>();
  const ended = Promise.withResolvers<void>();
  const raw = stdin.isTTY;
  if (raw) stdin.setRawMode(true);
  const onData = (chunk: Buffer | string): void => {
    const bytes = Buffer.from(chunk);
    const { data, leave } = raw ? typed(bytes) : { data: bytes, leave: false };
    if (data.length > 0) onInput(data);
    if (leave) left.resolve();
  };
  const onEnd = (): void => ended.resolve();
  stdin.on("data", onData);
  stdin.on("end", onEnd);
  stdin.resume();
  return {
    left: left.promise,
    ended: ended.promise,
    [Symbol.dispose]() {
      stdin.off("data", onData);
      stdin.off("end", onEnd);
      if (raw) stdin.setRawMode(false);
      stdin.pause();
    },
  };
}
