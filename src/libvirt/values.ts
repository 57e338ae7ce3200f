/** Between libvirt's typed parameter lists and plain records. */
import type { StatValues } from "./contract.ts";
import type { TypedParam } from "./protocol/notation.ts";

/** A record of the parameters; of a field that comes more than once the last one counts. */
export function statValues(params: readonly TypedParam[]): StatValues {
  const values: Record<string, number | string | boolean> = {};
  for (const { field, value } of params) {
    values[field] = typeof value.value === "bigint" ? Number(value.value) : value.value;
  }
  return values;
}
