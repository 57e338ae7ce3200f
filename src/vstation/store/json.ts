/**
 * JSON as PostgreSQL can take it. It refuses NUL and halves of surrogate pairs, which JSON allows: a host or a client that sends one
 * must not be able to make a statement fail that carries other people's rows too. They become U+FFFD, the sign for "not a character".
 */
const untakeable = /\\u(?:0000|d[89a-f])/i;

export function toJson(value: unknown): string {
  const text = JSON.stringify(value);
  if (!untakeable.test(text)) return text;
  return JSON.stringify(value, (_key, inner: unknown) => (typeof inner === "string" ? clean(inner) : inner));
}

function clean(text: string): string {
  return text.toWellFormed().replaceAll("\0", "\ufffd");
}
