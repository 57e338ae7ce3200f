/** The outside of a CLI run, so that a test can be the terminal, the environment and the clock's owner. */
export interface Io {
  out(text: string): void;
  err(text: string): void;
  /** Standard output is a terminal that a person looks at. */
  readonly outIsTty: boolean;
  readonly errIsTty: boolean;
  readonly stdin: NodeJS.ReadStream;
  readonly stdout: NodeJS.WriteStream;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborts at Ctrl-C and SIGTERM. */
  readonly signal: AbortSignal;
  /** Milliseconds since the epoch, for ages. */
  now(): number;
  /** Asks a yes-or-no question; undefined when there is nobody to ask. */
  confirm(question: string): Promise<boolean | undefined>;
}

const colors = { red: 31, green: 32, yellow: 33, dim: 2, bold: 1 } as const;

/** Colours text for a person at a terminal, and only for one. */
export function paint(io: Io, color: keyof typeof colors, text: string): string {
  const plain = !io.outIsTty || io.env["NO_COLOR"] !== undefined || io.env["TERM"] === "dumb";
  return plain ? text : `\x1b[${colors[color]}m${text}\x1b[0m`;
}
