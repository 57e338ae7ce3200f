/**
 * From the bytes of a request to a tree of parameters, before any schema: JSON of a POST body, or the flattened query of a GET
 * (`Filters.0.Name=zone&Filters.0.Values.0=z-1`). Both are bounded in depth, both treat null as absent, neither lets a name
 * reach a prototype.
 */
import { Refusal } from "./error-codes.ts";
import { FormText } from "./parameters.ts";

/** Documented structures are four levels deep at most. */
const maximumDepth = 16;

/** The parameters in a POST body: a JSON object in UTF-8. An empty body has none. */
export function parametersOfJson(body: Uint8Array): unknown {
  if (body.length === 0) return {};
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(body));
  } catch {
    throw new Refusal("InvalidRequest", "The body is not JSON in UTF-8.");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new Refusal("InvalidRequest", "The body must be a JSON object.");
  }
  return withoutNulls(value, 0);
}

function withoutNulls(value: unknown, depth: number): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (depth === maximumDepth) throw new Refusal("InvalidParameter", "The parameters are nested too deeply.");
  if (Array.isArray(value)) return value.map((entry) => withoutNulls(entry, depth + 1));
  // fromEntries defines own properties, whatever their name.
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, inner]) => inner !== null)
      .map(([name, inner]) => [name, withoutNulls(inner, depth + 1)]),
  );
}

type Tree = Map<string, Tree | FormText>;

/** The parameters in a GET query. Levels whose names are all numbers are lists, in the order of the numbers. */
export function parametersOfQuery(query: string): unknown {
  const root: Tree = new Map();
  for (const [name, value] of new URLSearchParams(query)) {
    const path = name.split(".");
    const last = path.pop() ?? "";
    if (path.length >= maximumDepth) throw new Refusal("InvalidParameter", "The parameters are nested too deeply.");
    let level = root;
    for (const step of path) {
      const next = level.get(step) ?? new Map<string, Tree | FormText>();
      if (next instanceof FormText) throw clash(name);
      level.set(step, next);
      level = next;
    }
    if (level.has(last)) throw clash(name);
    level.set(last, new FormText(value));
  }
  return plain(root, true);
}

function clash(name: string): Refusal {
  return new Refusal("InvalidParameter", `The parameter \`${name.slice(0, 64)}\` is given twice.`);
}

function plain(tree: Tree, isRoot: boolean): unknown {
  const entries = [...tree].map(
    ([name, value]) => [name, value instanceof FormText ? value : plain(value, false)] as const,
  );
  if (isRoot || !entries.every(([name]) => /^\d{1,6}$/.test(name))) return Object.fromEntries(entries);
  return entries.toSorted(([a], [b]) => Number(a) - Number(b)).map(([, value]) => value);
}
