/**
 * `GET /v1/events`: the change events as server-sent events.
 *
 * A comment line says when the stream is live, and again whenever nothing happened for a while: the reader tells a silent
 * stream from a dead one, and proxies keep it open. The events are pulled at the pace at which the client reads, so a slow
 * client costs a socket and nothing else.
 */
import { changeAnswer } from "./answers.ts";
import type { ChangeEvent, Events } from "../cloud.ts";

export interface EventFilter {
  subjects: ReadonlySet<string> | undefined;
  subjectIds: ReadonlySet<string> | undefined;
}

const encoder = new TextEncoder();
/** What a browser waits before it comes back; our own clients back off by themselves. */
const preamble = "retry: 1000\n: live\n\n";

export function eventStream(
  events: Events,
  since: bigint | undefined,
  filter: EventFilter,
  heartbeatMs: number,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  const stop = new AbortController();
  const ends = AbortSignal.any([signal, stop.signal]);
  const iterator = events.follow(since, ends)[Symbol.asyncIterator]();
  let pending: Promise<IteratorResult<ChangeEvent>> | undefined;

  const next = async (): Promise<ChangeEvent | "beat" | "end"> => {
    for (;;) {
      pending ??= iterator.next();
      const result = await orBeat(pending, heartbeatMs);
      if (result === "beat") return "beat";
      pending = undefined;
      if (result.done === true) return "end";
      const event = result.value;
      if (filter.subjects?.has(event.subject) === false) continue;
      if (filter.subjectIds?.has(event.subjectId) === false) continue;
      return event;
    }
  };

  return new ReadableStream<Uint8Array>({
    start(controller) {
      // Asked for before "live" is said, so that what happens from here on is in the stream.
      pending = iterator.next();
      pending.catch(() => undefined); // seen again by the pull that awaits it
      controller.enqueue(encoder.encode(preamble));
    },
    async pull(controller) {
      try {
        const event = await next();
        if (event === "end") controller.close();
        else controller.enqueue(encoder.encode(event === "beat" ? ": beat\n\n" : frame(event)));
      } catch (error) {
        if (ends.aborted) controller.close();
        else throw error;
      }
    },
    async cancel() {
      stop.abort();
      await iterator.return?.();
    },
  });
}

function frame(event: ChangeEvent): string {
  return `id: ${event.id}\nevent: change\ndata: ${JSON.stringify(changeAnswer(event))}\n\n`;
}

async function orBeat<T>(work: Promise<T>, ms: number): Promise<T | "beat"> {
  let timer: NodeJS.Timeout | undefined;
  const beat = new Promise<"beat">((resolve) => {
    timer = setTimeout(() => resolve("beat"), ms);
  });
  try {
    return await Promise.race([work, beat]);
  } finally {
    clearTimeout(timer);
  }
}
