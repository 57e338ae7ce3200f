/** Reading a request: every part goes through its schema, and nothing is read past its bound. */
import type { Context } from "hono";
import type * as z from "zod";
import { invalidRequest } from "../../api/native/problem.ts";
import { mayLackBody, takesMany, type Route } from "../../api/native/route.ts";
import { Failure } from "../../lib/errors.ts";

/** The largest body that any schema can need (user data, tags) with room to spare. */
export const maxBody = 256 * 1024;

export function readPart<S extends z.ZodType>(schema: S, value: unknown, where: string): z.output<S> {
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw invalidRequest(parsed.error, where);
  return parsed.data;
}

/** A field that the schema does not take several times is an error when it comes twice: silently picking one hides a mistake. */
export function queryValues(schema: z.ZodObject, given: URLSearchParams): Record<string, string | string[]> {
  const values: Record<string, string | string[]> = Object.create(null) as Record<string, string | string[]>;
  for (const key of new Set(given.keys())) {
    const all = given.getAll(key);
    const field = Object.hasOwn(schema.shape, key) ? schema.shape[key] : undefined;
    values[key] = (field !== undefined && takesMany(field)) || all.length > 1 ? all : (all[0] ?? "");
  }
  return { ...values };
}

export async function readRequest(
  route: Route,
  context: Context,
): Promise<{ params: unknown; query: unknown; request: unknown }> {
  const params = readPart(route.params, context.req.param(), "path");
  const query = readPart(route.query, queryValues(route.query, new URL(context.req.url).searchParams), "query");
  const request = readPart(route.request, await readJson(context.req.raw, mayLackBody(route)), "body");
  return { params, query, request };
}

/** A body as it comes; ends with a failure past its bound. */
export async function* boundedBody(request: Request, most: number): AsyncGenerator<Uint8Array> {
  let size = 0;
  for await (const chunk of request.body ?? []) {
    size += chunk.byteLength;
    if (size > most) throw tooLarge(most);
    yield chunk;
  }
}

/** `mayLack`: no body at all is as good as an empty object. */
async function readJson(request: Request, mayLack: boolean): Promise<unknown> {
  if (Number(request.headers.get("content-length") ?? 0) > maxBody) throw tooLarge(maxBody);
  const chunks: Uint8Array[] = [];
  for await (const chunk of boundedBody(request, maxBody)) chunks.push(chunk);
  const body = Buffer.concat(chunks);
  if (mayLack && body.length === 0) return {};
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body)) as unknown;
  } catch (error) {
    throw new Failure("invalid", "BodyNotJson", "the body is no JSON in UTF-8", { cause: error });
  }
}

function tooLarge(most: number): Failure {
  return new Failure("limit", "BodyTooLarge", `the body is larger than ${most} bytes`);
}
