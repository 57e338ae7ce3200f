/**
 * The typed client of the native API, derived from the route table: `client.call("instanceGet", {params: {id}})`.
 *
 * Every call has a deadline. What the server says is a problem becomes the same `Failure` that was thrown over there; no
 * connection is `unavailable`, no answer in time is `timeout`: then the outcome is unknown, so read again and do not resend.
 */
import * as z from "zod";
import { Failure } from "../../lib/errors.ts";
import type { ImageId } from "../../lib/ids.ts";
import { failureOf, problemMediaType, problemSchema } from "./problem.ts";
import { fillPath, nothing, type Route } from "./route.ts";
import { rawRoutes, routes, type RouteAnswer, type RouteInput, type RouteName } from "./routes.ts";

export interface ClientOptions {
  /** Such as http://127.0.0.1:8080, with or without the `/v1` of its paths. */
  endpoint: string;
  token: string;
  /** Id or name of the account that every call acts for; else the operator's own, and reads see all. */
  account?: string | undefined;
  /** For one call, unless the call says otherwise. */
  timeoutMs?: number;
  /** Ends every call. */
  signal?: AbortSignal;
}

export interface CallOptions {
  timeoutMs?: number;
  signal?: AbortSignal | undefined;
}

const defaultTimeoutMs = 30_000;
/** A part of an image on a slow line; the server gives up at the same time. */
const partTimeoutMs = 120_000;
const receivedAnswer = z.object({ received: z.int() });
const maxAnswer = 64 * 1024 * 1024;

export class NativeClient {
  readonly endpoint: string;
  readonly #token: string;
  readonly #account: string | undefined;
  readonly #timeoutMs: number;
  readonly #signal: AbortSignal | undefined;

  constructor(options: ClientOptions) {
    this.endpoint = options.endpoint.replace(/\/(v1\/?)?$/, "");
    this.#token = options.token;
    this.#account = options.account;
    this.#timeoutMs = options.timeoutMs ?? defaultTimeoutMs;
    this.#signal = options.signal;
  }

  /** The same client on behalf of an account, by id or name. */
  forAccount(account: string): NativeClient {
    const signal = this.#signal === undefined ? {} : { signal: this.#signal };
    return new NativeClient({
      endpoint: this.endpoint,
      token: this.#token,
      timeoutMs: this.#timeoutMs,
      account,
      ...signal,
    });
  }

  /** Calls a route. Throws a `Failure`; `unavailable` says that the server was not reached, `timeout` that it did not answer. */
  async call<N extends RouteName>(name: N, input: RouteInput<N>, options: CallOptions = {}): Promise<RouteAnswer<N>> {
    const route: Route = routes[name];
    const parts: { params?: object; query?: object; request?: unknown } = input;
    const path = fillPath(route.path, (parts.params ?? {}) as Record<string, unknown>) + queryString(parts.query ?? {});
    const timeoutMs = options.timeoutMs ?? this.#timeoutMs + waitOf(parts.query);
    const init: RequestInit = { method: route.method, headers: this.headers };
    if (route.request !== nothing) {
      init.body = JSON.stringify(parts.request ?? {});
      init.headers = { ...this.headers, "Content-Type": "application/json" };
    }
    const text = await this.#fetch(path, init, name, timeoutMs, options.signal);
    return answerFrom(route.response, name, text) as RouteAnswer<N>;
  }

  /** Sends a part of an announced image file; returns how much is there then. */
  async sendImage(id: ImageId, offset: number, part: Uint8Array<ArrayBuffer>): Promise<number> {
    const { path, method } = rawRoutes.imageContent;
    const init = { method, headers: this.headers, body: part };
    const text = await this.#fetch(`${fillPath(path, { id })}?offset=${offset}`, init, "imageContent", partTimeoutMs);
    return answerFrom(receivedAnswer, "imageContent", text).received;
  }

  /** The text of a good answer. */
  async #fetch(path: string, init: RequestInit, name: string, timeoutMs: number, own?: AbortSignal): Promise<string> {
    const deadline = AbortSignal.timeout(timeoutMs);
    const ended = [own, this.#signal].filter((one) => one !== undefined);
    try {
      const response = await fetch(this.endpoint + path, { ...init, signal: AbortSignal.any([deadline, ...ended]) });
      const text = await boundedText(response);
      if (!response.ok) throw problemFrom(response, text);
      return text;
    } catch (error) {
      if (ended.some((one) => one.aborted)) throw error;
      throw this.failureFor(error, deadline, `${name}: no answer within ${timeoutMs} ms`);
    }
  }

  /** For streams, which are no calls: the same proof, the same failures. */
  get headers(): Record<string, string> {
    const forAccount = this.#account === undefined ? {} : { "X-VStation-Account": this.#account };
    return { Authorization: `Bearer ${this.#token}`, Accept: `application/json, ${problemMediaType}`, ...forAccount };
  }

  /** What a fetch that failed by itself means; a `Failure` passes unchanged. */
  failureFor(error: unknown, deadline: AbortSignal | undefined, late: string): unknown {
    if (error instanceof Failure) return error;
    if (deadline?.aborted === true) return new Failure("timeout", "DeadlineExceeded", late, { cause: error });
    return new Failure("unavailable", "EndpointUnreachable", `cannot reach ${this.endpoint}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

/** The failure that an answer with an error status stands for. */
export function problemFrom(response: Response, text: string): Failure {
  if (response.headers.get("content-type")?.startsWith(problemMediaType) === true) {
    const parsed = problemSchema.safeParse(jsonOrUndefined(text));
    if (parsed.success) return failureOf(parsed.data);
  }
  const message = `the endpoint answered ${response.status} and not as VStation does; is the address right?`;
  return new Failure("unavailable", "NotVStation", message, { detail: { status: response.status } });
}

/** The whole text, or a failure once it is larger than any answer of ours. */
async function boundedText(response: Response): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of response.body ?? []) {
    text += decoder.decode(chunk, { stream: true });
    if (text.length > maxAnswer) {
      throw new Failure("internal", "AnswerTooLarge", "the answer is larger than any of VStation's");
    }
  }
  return text + decoder.decode();
}

function answerFrom<S extends z.ZodType>(schema: S, name: string, text: string): z.output<S> {
  const parsed = schema.safeParse(jsonOrUndefined(text));
  if (parsed.success) return parsed.data;
  const message = `the answer to ${name} is not what this version expects; are client and server of one release?`;
  throw new Failure("internal", "AnswerNotUnderstood", message, { detail: { why: z.prettifyError(parsed.error) } });
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // refused by the schema that comes next, with its own words
  }
}

/** A long poll answers so much later. */
function waitOf(query: object | undefined): number {
  const wait = query !== undefined && "wait" in query ? query.wait : undefined;
  return typeof wait === "number" ? wait * 1000 : 0;
}

function queryString(query: object): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === undefined) continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(key, String(one));
  }
  return search.size === 0 ? "" : `?${search.toString()}`;
}

/** undici wraps the cause that says something ("connect ECONNREFUSED ...") in "fetch failed". */
function reasonOf(error: unknown): string {
  let inner = error;
  while (inner instanceof Error && inner.cause instanceof Error) inner = inner.cause;
  if (inner instanceof AggregateError && inner.errors[0] instanceof Error) return inner.errors[0].message;
  return inner instanceof Error ? inner.message : String(inner);
}
