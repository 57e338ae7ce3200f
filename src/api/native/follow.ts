/**
 * The client's side of `GET /v1/events`: changes as an async iteration that comes back after every break.
 *
 * What it hands out is either a change or "live": the stream has (again) begun. Changes carry no state and a stream that
 * begins anew may have missed some (the first one always has), so a reader reads what it shows at "live" and at each change
 * that concerns it; then no order of breaks and changes can leave it with an old picture.
 *
 * A break is retried with back-off, resuming behind the last change seen. Silence longer than the server's heartbeats is a
 * break too: a connection whose other end vanished says nothing for ever.
 */
import { Failure } from "../../lib/errors.ts";
import { backoff, sleep } from "../../lib/retry.ts";
import { problemFrom, type NativeClient } from "./client.ts";
import { changeEventSchema, type ChangeEventWire } from "./resources.ts";
import { rawRoutes } from "./routes.ts";

export type Followed = { is: "live" } | { is: "change"; event: ChangeEventWire };

export interface FollowOptions {
  signal: AbortSignal;
  /** Resume behind this id; from now on when left out. */
  since?: string;
  /** The server says something every 15 s; so much silence is a broken connection. */
  silenceMs?: number;
  /** A break, before it is retried: for a progress line. */
  onBreak?: (error: unknown) => void;
}

const connectMs = 10_000;

/** Ends when the signal aborts; throws only what retrying cannot mend (a wrong token, a wrong address). */
export async function* followChanges(client: NativeClient, options: FollowOptions): AsyncGenerator<Followed> {
  const { signal, silenceMs = 45_000 } = options;
  let last = options.since;
  for (let failures = 0; !signal.aborted; failures++) {
    try {
      for await (const item of oneStream(client, last, silenceMs, signal)) {
        failures = 0;
        if (item.is === "change") last = item.event.id;
        yield item;
      }
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof Failure && error.kind !== "unavailable" && error.kind !== "timeout") throw error;
      options.onBreak?.(error);
    }
    await sleep(backoff(failures, 200, 5000), signal).catch(() => undefined);
  }
}

async function* oneStream(
  client: NativeClient,
  last: string | undefined,
  silenceMs: number,
  signal: AbortSignal,
): AsyncGenerator<Followed> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), connectMs);
  const heard = (): void => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), silenceMs);
  };
  try {
    const response = await fetch(client.endpoint + rawRoutes.events.path, {
      headers: {
        ...client.headers,
        Accept: "text/event-stream",
        ...(last === undefined ? {} : { "Last-Event-ID": last }),
      },
      signal: AbortSignal.any([signal, silence.signal]),
    });
    if (!response.ok || response.body === null) throw problemFrom(response, await response.text());
    const parser = new EventParser();
    for await (const chunk of response.body) {
      heard();
      for (const item of parser.push(chunk)) yield item;
    }
  } catch (error) {
    throw client.failureFor(error, silence.signal, "the event stream fell silent");
  } finally {
    clearTimeout(timer);
  }
}

const maxEvent = 64 * 1024;

/** Server-sent events, as far as our server speaks them; bytes may be cut anywhere. */
export class EventParser {
  readonly #decoder = new TextDecoder();
  #text = "";
  #live = false;

  /** The events that these bytes complete; the first comment says that the stream is live. */
  push(chunk: Uint8Array): Followed[] {
    this.#text += this.#decoder.decode(chunk, { stream: true });
    const items: Followed[] = [];
    for (let end = this.#text.indexOf("\n\n"); end >= 0; end = this.#text.indexOf("\n\n")) {
      const item = this.#block(this.#text.slice(0, end));
      this.#text = this.#text.slice(end + 2);
      if (item !== undefined) items.push(item);
    }
    if (this.#text.length > maxEvent) {
      throw new Failure("unavailable", "NotVStation", "the event stream is none of VStation's; is the address right?");
    }
    return items;
  }

  #block(block: string): Followed | undefined {
    const lines = block.split("\n");
    if (!this.#live && lines.some((line) => line.startsWith(":"))) {
      this.#live = true;
      return { is: "live" };
    }
    const data = lines.filter((line) => line.startsWith("data: ")).map((line) => line.slice(6));
    if (data.length === 0) return undefined;
    return { is: "change", event: changeEventSchema.parse(JSON.parse(data.join("\n"))) };
  }
}
