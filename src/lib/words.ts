/** Sentences for people. */

/** The first few, and how many are left unsaid: `a, b and 7 more`. */
export function firstOf(texts: readonly string[], most: number): string {
  const unsaid = texts.length - most;
  const said = texts.slice(0, most).join(", ");
  return unsaid <= 0 ? said : `${said} and ${unsaid} more`;
}
