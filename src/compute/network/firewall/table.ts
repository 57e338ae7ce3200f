/**
 * An nftables table as data, and the script that turns one into another in a single transaction. A packet meets the old rules or
 * the new ones, never a mixture, and tracked connections are not touched. What did not change is not rewritten, so a change costs
 * what it changes: an instance that comes adds elements to sets.
 */

export interface NftTable {
  readonly family: "inet" | "bridge";
  readonly name: string;
  /** By name. A set's elements have the value null, a map's the text after the colon. */
  readonly sets: ReadonlyMap<string, NftSet>;
  /** By name, in an order in which a chain that is jumped to need not come first. */
  readonly chains: ReadonlyMap<string, NftChain>;
}

export interface NftSet {
  /** All of its declaration but the elements, such as `type ipv4_addr ;`. */
  readonly declaration: string;
  readonly kind: "set" | "map";
  readonly elements: ReadonlyMap<string, string | null>;
}

export interface NftChain {
  /** Such as `type filter hook forward priority 0 ; policy accept ;`; null: only jumped to. */
  readonly hook: string | null;
  readonly rules: readonly string[];
}

/** A script for `nft -f` that replaces whatever is there under that name. */
export function wholeTable(table: NftTable): string {
  const { family, name } = table;
  const empty: NftTable = { family, name, sets: new Map(), chains: new Map() };
  return [
    `add table ${family} ${name}`,
    `delete table ${family} ${name}`,
    `add table ${family} ${name}`,
    changes(empty, table),
  ].join("\n");
}

/** A script for `nft -f` from one to the other; empty if they are equal. */
export function changeTable(from: NftTable, to: NftTable): string {
  for (const [name, { declaration }] of to.sets) {
    const before = from.sets.get(name);
    if (before !== undefined && before.declaration !== declaration) return wholeTable(to);
  }
  for (const [name, { hook }] of to.chains) {
    const before = from.chains.get(name);
    if (before !== undefined && before.hook !== hook) return wholeTable(to);
  }
  return changes(from, to);
}

/** Names before what uses them, uses away before what they name. */
function changes(from: NftTable, to: NftTable): string {
  const at = `${to.family} ${to.name}`;
  const lines: string[] = [];
  for (const [name, { kind, declaration }] of to.sets) {
    if (!from.sets.has(name)) lines.push(`add ${kind} ${at} ${name} { ${declaration} }`);
  }
  for (const [name, { hook }] of to.chains) {
    if (!from.chains.has(name)) lines.push(`add chain ${at} ${name}${hook === null ? "" : ` { ${hook} }`}`);
  }
  for (const [name, before] of from.sets) {
    const after = to.sets.get(name)?.elements;
    const gone = [...before.elements].filter(([key, value]) => after?.get(key) !== value).map(([key]) => key);
    if (gone.length > 0) lines.push(`delete element ${at} ${name} { ${gone.join(", ")} }`);
  }
  for (const name of from.chains.keys()) if (!to.chains.has(name)) lines.push(`flush chain ${at} ${name}`);
  for (const [name, { rules }] of to.chains) {
    const before = from.chains.get(name)?.rules;
    if (before !== undefined && same(before, rules)) continue;
    if (before !== undefined) lines.push(`flush chain ${at} ${name}`);
    for (const rule of rules) lines.push(`add rule ${at} ${name} ${rule}`);
  }
  for (const [name, { elements }] of to.sets) {
    const before = from.sets.get(name)?.elements;
    const fresh = [...elements].filter(([key, value]) => before?.get(key) !== value);
    const texts = fresh.map(([key, value]) => (value === null ? key : `${key} : ${value}`));
    if (texts.length > 0) lines.push(`add element ${at} ${name} { ${texts.join(", ")} }`);
  }
  for (const name of from.chains.keys()) if (!to.chains.has(name)) lines.push(`delete chain ${at} ${name}`);
  for (const [name, { kind }] of from.sets) if (!to.sets.has(name)) lines.push(`delete ${kind} ${at} ${name}`);
  return lines.map((line) => `${line}\n`).join("");
}

function same(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((rule, index) => rule === b[index]);
}

/** A set of these elements. */
export function setOf(type: string, elements: Iterable<string>): NftSet {
  return { kind: "set", declaration: `type ${type} ;`, elements: new Map([...elements].map((key) => [key, null])) };
}

/** A map of these elements. */
export function mapOf(type: string, elements: Iterable<readonly [key: string, value: string]>): NftSet {
  return { kind: "map", declaration: `type ${type} ;`, elements: new Map(elements) };
}
