/**
 * Where ids go in a request, read from an action's own schema: parameters that are ids (made by `id()`), and filters whose name
 * says that their values are. And in a native route's, where a schema takes ids of one kind alone. A parameter that only sounds like an id is found too, so that nobody can leave one out by
 * declaring it as plain text.
 */
import * as z from "zod";
import type { Action } from "../../../../src/vstation/cvm/action.ts";
import { filterNamesOf } from "../../../../src/vstation/cvm/filters.ts";
import { decisionOf, idKindOf } from "../../../../src/vstation/cvm/parameters.ts";
import type { Route } from "../../../../src/api/native/route.ts";
import { newId, type IdKind } from "../../../../src/lib/ids.ts";

/** Steps from the request to the value; `0` is the first entry of a list. */
export type Path = readonly (string | 0)[];

export type Place =
  | { readonly is: "id"; readonly path: Path; readonly kind: IdKind }
  | { readonly is: "filter"; readonly path: Path; readonly name: string; readonly kind: IdKind }
  /** By its name an id, but nobody says of what. */
  | { readonly is: "text"; readonly path: Path };

/** What an id is the id of, where only a name says it: filters, and parameters that are declared as text. */
const kindNames: Readonly<Record<string, string>> = {
  instance: "instance",
  image: "image",
  host: "host",
  key: "key",
  vpc: "vpc",
  subnet: "subnet",
  "security-group": "securityGroup",
  securitygroup: "securityGroup",
  disk: "disk",
  snapshot: "snapshot",
  "route-table": "routeTable",
  routetable: "routeTable",
  address: "elasticAddress",
  "nat-gateway": "natGateway",
  natgateway: "natGateway",
};

/** Filters and parameters that sound like ids and name nothing that an account has. */
const noIds: ReadonlySet<string> = new Set([
  "project-id",
  "zone-id",
  "dedicated-cluster-id",
  "cdc-id",
  "network-interface-id",
  // Of addresses of a VPC, which is named beside it and is the account's own.
  "resource-id",
  "RouteItemId",
  // Ids of any kind: test/real/tags.test.ts.
  "ResourceIds",
  "ProjectId",
  "ProjectIds",
  // Of access keys, whose routes are the operator's.
  "secretId",
]);

/** What an id of this name is the id of. */
export function kindByName(name: string): IdKind | undefined {
  const bare = name.replace(/(-id|Ids?)$/, "");
  return (kindNames[bare] ?? kindNames[bare.toLowerCase()]) as IdKind | undefined;
}

export function placesOf(action: Action): Place[] {
  return [...walk(action.parameters, [], idKindOf)];
}

/** Places in what a native route is asked with; its query only narrows what one is shown. */
export function nativePlacesOf({ params, request }: Route, kinds: readonly IdKind[]): Place[] {
  const kindOf = (schema: z.core.$ZodType): IdKind | undefined => {
    if ((schema as unknown as { def: Definition }).def.type !== "string") return undefined;
    const taken = kinds.filter((kind) => z.safeParse(schema, newId(kind)).success);
    return taken.length === 1 ? taken[0] : undefined;
  };
  return [...walk(params, ["params"], kindOf), ...walk(request, ["request"], kindOf)];
}

export function placeName({ name }: { name: string }, place: Place): string {
  const path = place.path.map((step) => (step === 0 ? "" : step)).filter((step) => step !== "");
  return `${name} ${path.join(".")}${place.is === "filter" ? ` ${place.name}` : ""}`;
}

type KindOf = (schema: z.core.$ZodType) => IdKind | undefined;

function* walk(schema: z.core.$ZodType, path: Path, kindOf: KindOf): Generator<Place> {
  if (decisionOf(schema) !== undefined || path.length > 12) return;
  const kind = kindOf(schema);
  const names = filterNamesOf(schema);
  if (kind !== undefined) yield { is: "id", path, kind };
  else if (names !== undefined) yield* filters(names, path);
  else yield* walkInside(schema, path, kindOf);
}

function* walkInside(schema: z.core.$ZodType, path: Path, kindOf: KindOf): Generator<Place> {
  const { def } = schema as unknown as { def: Definition };
  switch (def.type) {
    case "object":
      for (const [key, inner] of Object.entries(def.shape ?? {})) yield* walk(inner, [...path, key], kindOf);
      return;
    case "array":
      if (def.element !== undefined) yield* walk(def.element, [...path, 0], kindOf);
      return;
    case "optional":
    case "default":
    case "prefault":
    case "nullable":
    case "readonly":
    case "nonoptional":
      if (def.innerType !== undefined) yield* walk(def.innerType, path, kindOf);
      return;
    case "pipe":
      // A preprocessed value has its transform first; a transformed one has it last.
      for (const side of [def.in, def.out]) {
        if (side !== undefined && (side as unknown as { def: Definition }).def.type !== "transform")
          yield* walk(side, path, kindOf);
      }
      return;
    case "union":
      for (const option of def.options ?? []) yield* walk(option, path, kindOf);
      return;
    default: {
      const last = path.findLast((step) => typeof step === "string") ?? "";
      if (def.type !== "string" || !/Ids?$/.test(last) || noIds.has(last)) return;
      const named = kindByName(last);
      yield named === undefined ? { is: "text", path } : { is: "id", path, kind: named };
    }
  }
}

interface Definition {
  type: string;
  shape?: Record<string, z.core.$ZodType>;
  element?: z.core.$ZodType;
  innerType?: z.core.$ZodType;
  in?: z.core.$ZodType;
  out?: z.core.$ZodType;
  options?: z.core.$ZodType[];
}

function* filters(names: readonly string[], path: Path): Generator<Place> {
  for (const name of names) {
    if (!name.endsWith("-id") || noIds.has(name)) continue;
    const kind = kindByName(name);
    yield kind === undefined ? { is: "text", path: [...path, name] } : { is: "filter", path, name, kind };
  }
}
