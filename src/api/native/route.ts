/**
 * What one route of the native API is. The table in routes.ts is made of these; the server, the typed client and the OpenAPI
 * document all derive from it, so none of them can say something else than the others.
 *
 * Schemas of what comes in are strict and bounded: an unknown key is an error that names it. Schemas of what goes out are
 * open: a client of an older release meets a new field and goes on.
 */
import * as z from "zod";
import type { ErrorKind } from "../../lib/errors.ts";

export type Method = "GET" | "POST" | "PATCH" | "DELETE";

export interface Route<
  P extends z.ZodObject = z.ZodObject,
  Q extends z.ZodObject = z.ZodObject,
  B extends z.ZodType = z.ZodType,
  A extends z.ZodType = z.ZodType,
> {
  method: Method;
  /** Parameters stand in braces, as in OpenAPI: `/v1/hosts/{id}`. */
  path: string;
  /** Groups routes in the document: the resource. */
  tag: string;
  summary: string;
  params: P;
  query: Q;
  /** {@link nothing} = no body, or an empty object. */
  request: B;
  response: A;
  status: 200 | 201 | 202;
  /** Kinds this route may answer with besides those that every route may (see {@link commonErrors}). */
  errors: readonly ErrorKind[];
}

/** No parameters, no query, no body, an empty answer. */
export const nothing = z.strictObject({});
export type Nothing = typeof nothing;

/** Every route may fail like this. */
export const commonErrors: readonly ErrorKind[] = ["invalid", "unauthenticated", "unavailable", "timeout", "internal"];

type Parts<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType, A extends z.ZodType> = Pick<
  Route<P, Q, B, A>,
  "method" | "path" | "tag" | "summary" | "response"
> & { params?: P; query?: Q; request?: B; status?: 200 | 201 | 202; errors?: readonly ErrorKind[] };

/** Fills what a route leaves out with {@link nothing}, status 200 and no further errors. */
export function route<
  A extends z.ZodType,
  P extends z.ZodObject = Nothing,
  Q extends z.ZodObject = Nothing,
  B extends z.ZodType = Nothing,
>(parts: Parts<P, Q, B, A>): Route<P, Q, B, A> {
  return {
    ...parts,
    // The defaults are what the type parameters default to: only an absent part takes them.
    params: parts.params ?? (nothing as unknown as P),
    query: parts.query ?? (nothing as unknown as Q),
    request: parts.request ?? (nothing as unknown as B),
    status: parts.status ?? 200,
    errors: parts.errors ?? [],
  };
}

/** Nothing need be said in its body: none at all is as good as an empty object. */
export function mayLackBody({ request }: Pick<Route, "request">): boolean {
  return request.safeParse({}).success;
}

/** True for a query field that may be given several times (`?state=RUNNING&state=STOPPED`). */
export function takesMany(schema: z.core.$ZodType): boolean {
  if (schema instanceof z.ZodOptional || schema instanceof z.ZodDefault) return takesMany(schema.unwrap());
  return schema instanceof z.ZodArray;
}

/** `/v1/hosts/{id}` with its parameters put in, escaped. */
export function fillPath(path: string, params: Readonly<Record<string, unknown>>): string {
  return path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(String(params[name])));
}
