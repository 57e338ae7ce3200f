/** What happened, as numbers that only grow: for metrics, and for tests that ask whether something was lost. */
export interface Counters {
  calls: number;
  /** Calls whose deadline passed after they were sent. */
  timeouts: number;
  /** Replies to calls that nobody waits for any more; dropped. */
  lateReplies: number;
  /** Replies to serials that were never sent; dropped. */
  strayReplies: number;
  events: number;
  /** Events of subscriptions that have ended; dropped. */
  strayEvents: number;
  /** Payloads that could not be read. */
  malformed: number;
  listenerFailures: number;
  overflows: number;
  connects: number;
  losses: number;
}

export function newCounters(): Counters {
  return {
    calls: 0,
    timeouts: 0,
    lateReplies: 0,
    strayReplies: 0,
    events: 0,
    strayEvents: 0,
    malformed: 0,
    listenerFailures: 0,
    overflows: 0,
    connects: 0,
    losses: 0,
  };
}
