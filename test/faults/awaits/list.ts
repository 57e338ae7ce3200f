/**
 * Every `await` of the programs, found by parsing their source, each under a name that survives edits elsewhere in the file:
 * `vstation/app/keys.ts#create/2` is the second await of the function `create`. Pure; shared by the hook that runs inside the
 * programs (hook.ts) and by the tests that compare the list with what was reached.
 */
import { readdirSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { join } from "node:path";
import { parse, type AnyNode, type Node } from "acorn";
import { ancestor } from "acorn-walk";
import { root } from "../points.ts";

export interface AwaitStep {
  readonly name: string;
  /** Where what is awaited begins and ends in the text without types, which has the same offsets as the text with them. */
  readonly start: number;
  readonly end: number;
}

/** What runs in VStation and in Compute. */
export const folders = ["vstation", "compute", "libvirt", "lib"] as const;

/** True for files of the programs themselves; tests, fakes and test peers aside. `file` is relative to src/. */
export function isProgram(file: string): boolean {
  return (
    folders.some((folder) => file.startsWith(`${folder}/`)) &&
    file.endsWith(".ts") &&
    !/\.(test|fake)\.ts$|^libvirt\/testing\/|\/testing\.ts$|-doc\.ts$/.test(file)
  );
}

export function withoutTypes(text: string): string {
  return stripTypeScriptTypes(text);
}

/** In the order of the source; `code` is without types. */
export function awaitsIn(file: string, code: string): AwaitStep[] {
  const steps: AwaitStep[] = [];
  const counts = new Map<string, number>();
  const found = (argument: Node, ancestors: readonly Node[]): void => {
    const owner = `${file}#${ownerOf(ancestors as readonly AnyNode[])}`;
    const count = (counts.get(owner) ?? 0) + 1;
    counts.set(owner, count);
    steps.push({ name: `${owner}/${count}`, start: argument.start, end: argument.end });
  };
  ancestor(parse(code, { ecmaVersion: "latest", sourceType: "module" }), {
    AwaitExpression: (node, _state, ancestors) => found(node.argument, ancestors),
    ForOfStatement: (node, _state, ancestors) => {
      if (node.await) found(node.right, ancestors);
    },
  });
  return steps.toSorted((a, b) => a.start - b.start);
}

/** The text with each awaited expression passed through `call`, which gets its step's name. */
export function instrument(file: string, code: string, call: string): string {
  const inserts = awaitsIn(file, code).flatMap(({ name, start, end }) => [
    { at: start, text: `${call}(${JSON.stringify(name)},(`, order: start },
    { at: end, text: "))", order: -start },
  ]);
  // At one offset an end comes before a begin, and of two begins the outer one comes first.
  inserts.sort((a, b) => a.at - b.at || Number(a.text !== "))") - Number(b.text !== "))") || a.order - b.order);
  let out = "";
  let from = 0;
  for (const { at, text } of inserts) {
    out += code.slice(from, at) + text;
    from = at;
  }
  return out + code.slice(from);
}

/** Every await of both programs. */
export function allAwaits(): string[] {
  return readdirSync(join(root, "src"), { recursive: true, encoding: "utf8" })
    .filter(isProgram)
    .toSorted()
    .flatMap((file) => awaitsIn(file, withoutTypes(readFileSync(join(root, "src", file), "utf8"))))
    .map(({ name }) => name);
}

/** The function that a step stands in: its name and its class's, or the name of what a nameless one is part of. */
function ownerOf(ancestors: readonly AnyNode[]): string {
  const names: string[] = [];
  for (const [index, node] of ancestors.entries()) {
    const name = nameOf(node, ancestors[index + 1]);
    if (name !== undefined) names.push(name);
  }
  return names.join(".") || "module";
}

function nameOf(node: AnyNode, next: AnyNode | undefined): string | undefined {
  switch (node.type) {
    case "FunctionDeclaration":
    case "FunctionExpression":
    case "ClassDeclaration":
    case "ClassExpression":
      return node.id?.name;
    case "MethodDefinition":
    case "PropertyDefinition":
    case "Property":
      return next === node.value && isFunctionOrMethod(node.value) ? keyOf(node.key) : undefined;
    case "VariableDeclarator":
      return node.id.type === "Identifier" && next === node.init && isFunctionOrMethod(node.init)
        ? node.id.name
        : undefined;
    default:
      return undefined;
  }
}

function isFunctionOrMethod(node: Node | null | undefined): boolean {
  return node?.type === "FunctionExpression" || node?.type === "ArrowFunctionExpression";
}

function keyOf(key: AnyNode): string | undefined {
  if (key.type === "Identifier") return key.name;
  if (key.type === "PrivateIdentifier") return `#${key.name}`;
  return key.type === "Literal" ? String(key.value) : undefined;
}
