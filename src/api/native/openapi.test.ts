import { describe, expect, it } from "vitest";
import { openApiDocument } from "./openapi.ts";
import type { Route } from "./route.ts";
import { isNativePath, rawRoutes, routeNames, routes } from "./routes.ts";

type Json = { [key: string]: unknown };
const document = JSON.parse(JSON.stringify(openApiDocument("1.2.3"))) as Json;
const schemas = (document["components"] as { schemas: Record<string, Json> }).schemas;

interface Operation {
  operationId: string;
  tags: string[];
  summary: string;
  parameters: { name: string; in: string; required: boolean; schema: Json }[];
  requestBody?: { content: Record<string, { schema: Json }> };
  responses: Record<string, { description: string; content?: Record<string, { schema: Json }> }>;
  security?: unknown[];
}
const operations = Object.entries(document["paths"] as Record<string, Record<string, Operation>>).flatMap(
  ([path, methods]) => Object.entries(methods).map(([method, operation]) => ({ path, method, operation })),
);

/** Every schema object under a value, references followed once. */
function* walk(value: unknown, seen = new Set<string>()): Generator<Json> {
  if (Array.isArray(value)) for (const one of value) yield* walk(one, seen);
  if (typeof value !== "object" || value === null || Array.isArray(value)) return;
  const node = value as Json;
  yield node;
  const reference = node["$ref"];
  if (typeof reference === "string" && !seen.has(reference)) {
    seen.add(reference);
    yield* walk(schemas[reference.replace("#/components/schemas/", "")], seen);
  }
  for (const inner of Object.values(node)) yield* walk(inner, seen);
}

describe("the OpenAPI document", () => {
  it("has the parts that OpenAPI 3.1 asks for", () => {
    expect(document["openapi"]).toMatch(/^3\.1\.\d+$/);
    expect(document["info"]).toMatchObject({ title: expect.any(String) as string, version: "1.2.3" });
    for (const { path, method, operation } of operations) {
      expect(path).toMatch(/^\/[\w/{}:.-]*$/);
      expect(method).toMatch(/^(get|post|put|patch|delete)$/);
      expect(operation.summary).not.toBe("");
      expect(operation.tags).toHaveLength(1);
      expect(Object.keys(operation.responses).length).toBeGreaterThan(0);
      for (const [status, response] of Object.entries(operation.responses)) {
        expect(status).toMatch(/^[1-5]\d\d$/);
        expect(response.description).not.toBe("");
      }
      const inPath = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1]);
      const declared = operation.parameters.filter((parameter) => parameter.in === "path");
      expect(declared.map(({ name }) => name)).toEqual(inPath);
      expect(declared.every(({ required }) => required)).toBe(true);
    }
  });

  it("gives every operation an id of its own", () => {
    const ids = operations.map(({ operation }) => operation.operationId);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.toSorted()).toEqual([...routeNames, ...Object.keys(rawRoutes)].toSorted());
  });

  it("holds every route of the table with its method, status and errors", () => {
    for (const name of routeNames) {
      const route: Route = routes[name];
      const found = operations.find(({ operation }) => operation.operationId === name);
      expect(found).toMatchObject({ path: route.path, method: route.method.toLowerCase() });
      expect(found?.operation.responses).toHaveProperty(String(route.status));
      expect(found?.operation.responses).toHaveProperty("401");
      expect(isNativePath(route.path)).toBe(true);
    }
    for (const { path } of Object.values(rawRoutes)) expect(isNativePath(path)).toBe(true);
    expect(isNativePath("/")).toBe(false);
  });

  it("refers only to what it holds, and leaves no marks of the generator", () => {
    const nodes = [...walk(document)];
    const references = nodes
      .map((node) => node["$ref"])
      .filter((reference) => typeof reference === "string")
      .filter((reference) => reference.startsWith("#/components/schemas/"))
      .map((reference) => reference.replace("#/components/schemas/", ""));
    expect(references.length).toBeGreaterThan(20);
    expect(references.filter((name) => !Object.hasOwn(schemas, name))).toEqual([]);
    expect(nodes.filter((node) => "$defs" in node || "$schema" in node)).toEqual([]);
    expect(Object.keys(schemas)).toEqual(expect.arrayContaining(["Instance", "Operation", "Host", "Problem"]));
    expect(schemas["Instance"]).not.toHaveProperty("id");
  });

  it("bounds everything that comes in", () => {
    const unbounded: string[] = [];
    for (const { path, operation } of operations) {
      const incoming = [...operation.parameters.map(({ schema }) => schema), operation.requestBody];
      for (const node of walk(incoming)) {
        if (!isBounded(node)) unbounded.push(`${path}: ${JSON.stringify(node).slice(0, 200)}`);
      }
    }
    expect(unbounded).toEqual([]);
    expect(isBounded({ type: "string" })).toBe(false);
  });

  it("leaves answers open to new fields", () => {
    const answers = operations.flatMap(({ operation }) => Object.values(operation.responses));
    const nodes = [...walk(answers.map(({ content }) => content))].filter((node) => node["type"] === "object");
    expect(nodes.length).toBeGreaterThan(30);
    expect(nodes.filter((node) => node["additionalProperties"] === false)).toEqual([]);
  });
});

function isBounded(node: Json): boolean {
  switch (node["type"]) {
    case "string":
      return ["maxLength", "pattern", "enum", "const"].some((key) => key in node);
    case "array":
      return "maxItems" in node;
    case "integer":
    case "number":
      return ["maximum", "const", "enum"].some((key) => key in node);
    case "object":
      return node["additionalProperties"] === false || "maxProperties" in node;
    default:
      return true;
  }
}
