/** The sentence on an instance that says what is wrong and what to do; derived, like the state. */
import type { SeenPhase } from "./seen.ts";
import type { Failed } from "./wanted.ts";

export interface AttentionInput {
  power: "running" | "stopped" | "gone";
  seen: SeenPhase | null;
  failure: Failed | null;
  quickEnds: number;
  hostName: string | null;
  /** Its host is out of reach. */
  stale: boolean;
}

/** null when all is well. The most pressing thing comes first. */
export function attention(input: AttentionInput): string | null {
  const { power, seen, failure, quickEnds, hostName, stale } = input;
  if (stale) {
    return `Host ${hostName ?? "?"} is out of reach: this is what was last seen. Nothing is started elsewhere before the host is back or proven dead.`;
  }
  if (power === "running" && seen?.is === "paused") return paused(seen.reason);
  if (failure !== null) return sentence(failure.message);
  if (power === "running" && seen?.is === "exited" && seen.reason !== "guest_shutdown") return sentence(seen.message);
  if (seen?.is === "failed") return sentence(`its host tries again: ${seen.message}`);
  if (power === "running" && quickEnds > 0) {
    // The first of a row may have come after a long run.
    const often = quickEnds === 1 ? "" : ` ${quickEnds} times in a row`;
    return `The guest has ended by itself${often}; it is started again. Read its console log.`;
  }
  return null;
}

function paused(reason: string): string {
  switch (reason) {
    case "out_of_space":
      return "Paused: its host's storage is full. Free space there; the guest then goes on by itself.";
    case "io_error":
      return "Paused: its disk gave an error. Check the host's storage, then stop it hard and start it.";
    case "paused_outside":
      return "Paused on its host by somebody else; resume it there, or stop it hard and start it.";
    default:
      return `Paused: ${reason}.`;
  }
}

function sentence(text: string): string {
  const upper = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?]$/.test(upper) ? upper : `${upper}.`;
}
