/**
 * Text that becomes part of an XML document, whoever wrote it.
 * Characters that XML 1.0 cannot carry at all are dropped; they can only come from a tenant's name.
 */
export function text(value: string): string {
  const printable = Array.from(value.toWellFormed()).filter((c) => c >= " " || c === "\t" || c === "\n" || c === "\r");
  const kept = printable.filter((c) => c !== "\ufffe" && c !== "\uffff").join("");
  return kept.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

export function attribute(value: string): string {
  return text(value).replaceAll("'", "&apos;").replaceAll('"', "&quot;");
}
