/**
 * Compares our tables with libvirt's own protocol files:
 *
 *   node src/libvirt/protocol/check.ts <libvirt source tree>
 *
 * It parses the .x files as far as they go (constants, typedefs, structs, one union, enums), expands each procedure's args, ret or
 * msg into the notation of ../codec.ts and prints what differs. Names of fields are ours to choose; order, types and limits are
 * not. Run it after adding a line and when a new libvirt comes out; the files themselves are LGPL and stay outside this repository.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { connection } from "./connection.ts";
import { devices } from "./device.ts";
import { domains } from "./domain.ts";
import { eventProcedures, eventShapes } from "./event.ts";
import { keepalive } from "./keepalive.ts";
import { migration } from "./migration.ts";
import { type Procedure, type ProgramName } from "./notation.ts";
import { qemu, qemuMessages } from "./qemu.ts";

/** Constants of libvirt's C headers that the .x files use. */
const headerConstants: Record<string, number> = {
  VIR_UUID_BUFLEN: 16,
  VIR_SECURITY_MODEL_BUFLEN: 257,
  VIR_SECURITY_LABEL_BUFLEN: 4097,
  VIR_SECURITY_DOI_BUFLEN: 257,
  VIR_TYPED_PARAM_INT: 1,
  VIR_TYPED_PARAM_UINT: 2,
  VIR_TYPED_PARAM_LLONG: 3,
  VIR_TYPED_PARAM_ULLONG: 4,
  VIR_TYPED_PARAM_DOUBLE: 5,
  VIR_TYPED_PARAM_BOOLEAN: 6,
  VIR_TYPED_PARAM_STRING: 7,
};

const basic: Record<string, string> = {
  int: "int",
  "unsigned int": "uint",
  unsigned: "uint",
  hyper: "hyper",
  "unsigned hyper": "uhyper",
  double: "double",
  char: "small",
  "unsigned char": "small",
  "unsigned short": "small",
};

/** What one .x file defines, each type already in our notation, and its procedure numbers. */
export class Definitions {
  readonly #constants: Record<string, number>;
  readonly #types: Map<string, string>;
  readonly procedures = new Map<number, string>();
  /** Numbers that libvirt marks with high priority. */
  readonly quick = new Set<number>();

  constructor(source: string, base?: Definitions) {
    this.#constants = { ...headerConstants, ...(base ? base.#constants : {}) };
    this.#types = new Map(base ? base.#types : []);
    for (const m of source.matchAll(/\/\*\*((?:(?!\*\/)[\s\S])*)\*\/\s*\w+_PROC_\w+ = (\d+)/g)) {
      if (m[1]?.includes("@priority: high") === true) this.quick.add(Number(m[2]));
    }
    const clean = source.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^%.*$/gm, "");
    const item =
      /const\s+(\w+)\s*=\s*(\w+)\s*;|typedef\s+([^;]+);|struct\s+(\w+)\s*\{([^}]*)\}|union\s+(\w+)\s+switch\s*\([^)]*\)\s*\{([^}]*)\}|enum\s+(\w+)\s*\{([^}]*)\}/g;
    for (const m of clean.matchAll(item)) {
      if (m[1] !== undefined) this.#constants[m[1]] = this.#number(m[2] ?? "");
      else if (m[3] !== undefined) this.#define(m[3]);
      else if (m[4] !== undefined) this.#types.set(m[4], `{${this.#fields(m[5] ?? "").join(",")}}`);
      else if (m[6] !== undefined) this.#types.set(m[6], this.#union(m[7] ?? ""));
      else if (m[8] !== undefined) this.#enum(m[8], m[9] ?? "");
    }
  }

  /** The notation of a type, or of a struct without fields when it does not exist. */
  type(name: string): string {
    return this.#types.get(name) ?? "{}";
  }

  #number(text: string): number {
    const value = this.#constants[text] ?? Number(text);
    if (Number.isNaN(value)) throw new Error(`unknown constant ${text}`);
    return value;
  }

  #fields(body: string): string[] {
    return body
      .split(";")
      .map((line) => line.trim())
      .filter((line) => line !== "")
      .map((line) => this.#declaration(line).notation);
  }

  #define(declaration: string): void {
    const { name, notation } = this.#declaration(declaration.trim());
    this.#types.set(name, notation);
  }

  #declaration(text: string): { name: string; notation: string } {
    const m = /^((?:unsigned\s+)?\w+)\s*(\*?)\s*(\w+)\s*(?:([<[])(\w*)[>\]])?$/.exec(text);
    if (!m) throw new Error(`cannot read "${text}"`);
    const [, type = "", pointer, name = "", bracket, limit] = m;
    const size = bracket === undefined ? "" : String(this.#number(limit ?? ""));
    const marks = bracket === undefined ? (pointer ?? "") : bracket === "<" ? `<${size}>` : `[${size}]`;
    return { name, notation: `${this.#base(type.replace(/\s+/g, " "))}${marks}` };
  }

  #base(type: string): string {
    if (type === "string" || type === "opaque") return type;
    const found = basic[type] ?? this.#types.get(type);
    if (found === undefined) throw new Error(`unknown type ${type}`);
    return found;
  }

  #union(body: string): string {
    const cases = [...body.matchAll(/case\s+(\w+)\s*:\s*([^;]+);/g)];
    const parts = cases.map((m) => `${this.#number(m[1] ?? "")}:${this.#declaration((m[2] ?? "").trim()).notation}`);
    return `union(${parts.join(",")})`;
  }

  #enum(name: string, body: string): void {
    this.#types.set(name, "int");
    for (const m of body.matchAll(/(\w+)\s*=\s*(\w+)/g)) {
      const value = Number(m[2]);
      this.#constants[m[1] ?? ""] = value;
      if (name.endsWith("_procedure")) this.procedures.set(value, (m[1] ?? "").replace("_PROC_", "_").toLowerCase());
    }
  }
}

/** Structs inside structs are the same bytes as their fields, so the braces that no array or pointer needs are dropped. */
function flat(notation: string): string {
  let text = notation;
  for (;;) {
    const next = text
      .replace(/\{([^{}]*)\}(?=[<[*])/g, "($1)")
      .replace(/,?\{\}(?![<[*])/g, "")
      .replace(/\{([^{}]*)\}(?![<[*])/g, "$1");
    if (next === text) return text;
    text = next;
  }
}

/** Every difference between our tables and the definitions, as lines for a person. */
export function differences(definitions: Readonly<Record<ProgramName, Definitions>>): string[] {
  const found: string[] = [];
  const compare = (program: ProgramName, number: number, ours: string, wire: string, suffix: string): void => {
    const name = definitions[program].procedures.get(number);
    const theirs = name === undefined ? "no such procedure" : definitions[program].type(`${name}_${suffix}`);
    if (flat(wire) !== flat(theirs)) {
      found.push(`${ours} (${program} ${number} ${suffix})\n  ours   ${flat(wire)}\n  theirs ${flat(theirs)}`);
    }
  };
  const tables = { ...connection, ...devices, ...domains, ...eventProcedures, ...keepalive, ...migration, ...qemu };
  for (const line of Object.values<Procedure<unknown, unknown>>(tables)) {
    compare(line.program, line.number, line.name, line.args.notation, "args");
    compare(line.program, line.number, line.name, line.result.notation, "ret");
    if (line.quick !== definitions[line.program].quick.has(line.number)) found.push(`${line.name} is quick or is not`);
  }
  for (const event of eventShapes) compare("remote", event.procedure, event.kind, event.codec.notation, "msg");
  for (const line of Object.values<Procedure<unknown, unknown>>(qemuMessages)) {
    compare(line.program, line.number, line.name, line.args.notation, "msg");
  }
  return found;
}

export function readDefinitions(tree: string): Record<ProgramName, Definitions> {
  const read = (path: string): string => readFileSync(join(tree, path), "utf8");
  const remote = new Definitions(read("src/remote/remote_protocol.x"));
  return {
    remote,
    qemu: new Definitions(read("src/remote/qemu_protocol.x"), remote),
    keepalive: new Definitions(read("src/rpc/virkeepaliveprotocol.x")),
  };
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const tree = process.argv[2];
  if (tree === undefined) throw new Error("usage: node src/libvirt/protocol/check.ts <libvirt source tree>");
  const found = differences(readDefinitions(tree));
  process.stdout.write(found.length === 0 ? "no differences\n" : `${found.join("\n")}\n`);
  process.exitCode = found.length === 0 ? 0 : 1;
}
