/** The OpenAPI 3.1 document, from the very schemas that check the requests: it cannot say something else than the code. */
import * as z from "zod";
import type { ErrorKind } from "../../lib/errors.ts";
import { problemMediaType, problemSchema, statusOf } from "./problem.ts";
import { changeEventSchema } from "./resources.ts";
import { commonErrors, mayLackBody, nothing, type Route } from "./route.ts";
import { rawRoutes, routeNames, routes } from "./routes.ts";

type Json = Record<string, unknown>;

const components = "#/components/schemas/";

/** Collects every schema that carries an id as a component, and turns references into references to those. */
class Schemas {
  readonly named: Record<string, Json> = {};

  jsonSchema(schema: z.ZodType): Json {
    // "input" is what travels: what may be left out is not required, and answers stay open to new fields.
    const whole = z.toJSONSchema(schema, { io: "input", target: "draft-2020-12" }) as Json;
    const { $schema: _, $defs, ...own } = whole;
    for (const [id, definition] of Object.entries(($defs ?? {}) as Record<string, Json>)) {
      const { id: __, ...rest } = definition;
      this.named[id] = relinked(rest) as Json;
    }
    const { id, ...rest } = own;
    if (typeof id !== "string") return relinked(own) as Json;
    this.named[id] = relinked(rest) as Json;
    return { $ref: components + id };
  }
}

function relinked(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(relinked);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) =>
    key === "$ref" && typeof inner === "string" ? [key, inner.replace("#/$defs/", components)] : [key, relinked(inner)],
  );
  return Object.fromEntries(entries) as Json;
}

function parameters(schemas: Schemas, schema: z.ZodObject, where: "path" | "query"): Json[] {
  const whole = schemas.jsonSchema(schema) as { properties?: Record<string, Json>; required?: string[] };
  return Object.entries(whole.properties ?? {}).map(([name, property]) => {
    const { description, ...rest } = property;
    return {
      name,
      in: where,
      required: where === "path" || (whole.required ?? []).includes(name),
      ...(description === undefined ? {} : { description }),
      schema: rest,
    };
  });
}

const requestIdHeader = { "X-Request-Id": { $ref: "#/components/headers/RequestId" } };

function problemAnswers(kinds: readonly ErrorKind[]): Json {
  const answers: Json = {};
  for (const kind of kinds) {
    answers[statusOf[kind]] = {
      description: kind,
      headers: requestIdHeader,
      content: { [problemMediaType]: { schema: { $ref: `${components}Problem` } } },
    };
  }
  return answers;
}

function operation(schemas: Schemas, name: string, route: Route): Json {
  const hasBody = route.request !== nothing;
  return {
    operationId: name,
    tags: [route.tag],
    summary: route.summary,
    parameters: [...parameters(schemas, route.params, "path"), ...parameters(schemas, route.query, "query")],
    ...(hasBody
      ? {
          requestBody: {
            required: !mayLackBody(route),
            content: { "application/json": { schema: schemas.jsonSchema(route.request) } },
          },
        }
      : {}),
    responses: {
      [route.status]: {
        description: route.status === 202 ? "Accepted: follow the operation" : "Done",
        headers: requestIdHeader,
        content: { "application/json": { schema: schemas.jsonSchema(route.response) } },
      },
      ...problemAnswers([...commonErrors, ...(hasBody ? (["limit"] as const) : []), ...route.errors]),
    },
  };
}

function rawOperation(schemas: Schemas, name: keyof typeof rawRoutes): Json {
  const { tag, summary, description, params, query, mediaType, token } = rawRoutes[name];
  const good =
    mediaType === undefined
      ? { 101: { description: "The WebSocket is open" } }
      : { 200: { description: "Done", content: { [mediaType]: { schema: { type: "string" } } } } };
  return {
    operationId: name,
    tags: [tag],
    summary,
    description,
    parameters: [...parameters(schemas, params, "path"), ...parameters(schemas, query, "query")],
    responses: { ...good, ...(token ? problemAnswers(commonErrors) : {}) },
    ...(token ? {} : { security: [] }),
  };
}

/** The document as `GET /openapi.json` serves it. */
export function openApiDocument(version: string): Json {
  const schemas = new Schemas();
  const paths: Record<string, Json> = {};
  for (const name of routeNames) {
    const route: Route = routes[name];
    (paths[route.path] ??= {})[route.method.toLowerCase()] = operation(schemas, name, route);
  }
  for (const name of Object.keys(rawRoutes) as (keyof typeof rawRoutes)[]) {
    const raw = rawRoutes[name];
    (paths[raw.path] ??= {})["method" in raw ? raw.method.toLowerCase() : "get"] = rawOperation(schemas, name);
  }
  schemas.jsonSchema(problemSchema);
  schemas.jsonSchema(changeEventSchema);
  return {
    openapi: "3.1.0",
    info: {
      title: "VStation native API",
      version,
      description: "For operators: instances, hosts, operations and events of one zone.",
      license: { name: "Apache-2.0", identifier: "Apache-2.0" },
    },
    jsonSchemaDialect: "https://json-schema.org/draft/2020-12/schema",
    security: [{ token: [] }],
    paths,
    components: {
      schemas: schemas.named,
      headers: {
        RequestId: {
          description: "As the client sent it, or made for it. Also in the log and the operation.",
          schema: { type: "string" },
        },
      },
      securitySchemes: {
        token: { type: "http", scheme: "bearer", description: "`nativeToken` of credentials.json" },
      },
    },
  };
}
