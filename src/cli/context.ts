/** What every command needs: where the home is, who we are, a client, and how to say things. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import * as z from "zod";
import { NativeClient } from "../api/native/client.ts";
import { Failure } from "../lib/errors.ts";
import type { Io } from "./io.ts";

export interface GlobalOptions {
  home?: string;
  account?: string;
  json?: boolean;
}

/** As VStation writes it when it is ready; what we do not use is left alone. */
const credentialsSchema = z.looseObject({
  nativeEndpoint: z.url({ protocol: /^https?$/ }),
  nativeToken: z.string().min(1),
});
export type Credentials = z.infer<typeof credentialsSchema>;

const packageRoot = join(import.meta.dirname, "../..");

/** `.vstation` here, or where `npm start` puts it when the command is run from elsewhere. */
function defaultHome(): string {
  return existsSync(".vstation") ? ".vstation" : join(packageRoot, ".vstation");
}

export class Context {
  readonly io: Io;
  readonly home: string;
  readonly json: boolean;
  readonly account: string | undefined;
  #client: NativeClient | undefined;

  constructor(io: Io, options: GlobalOptions) {
    this.io = io;
    this.json = options.json === true;
    this.account = options.account;
    this.home = resolve(options.home ?? io.env["VSTATION_HOME"] ?? defaultHome());
  }

  get credentialsFile(): string {
    return join(this.home, "credentials.json");
  }

  get client(): NativeClient {
    const { nativeEndpoint, nativeToken } = this.credentials();
    const { account } = this;
    const { signal } = this.io;
    this.#client ??= new NativeClient({ endpoint: nativeEndpoint, token: nativeToken, account, signal });
    return this.#client;
  }

  credentials(): Credentials {
    return readCredentials(this.credentialsFile);
  }

  /** One JSON document for programs, or text for people. */
  print(document: unknown, text: () => string): void {
    this.io.out(this.json ? `${JSON.stringify(document, undefined, 2)}\n` : text());
  }

  /** For people only; programs read the document. */
  say(text: string): void {
    if (!this.json) this.io.err(`${text}\n`);
  }
}

export function readCredentials(file: string): Credentials {
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EACCES")
      throw new Failure("unauthenticated", "CredentialsNotYours", `you may not read ${file}`, { cause: error });
    const why = code === "ENOENT" ? "there are no credentials" : `cannot read the credentials (${code ?? "unknown"})`;
    throw new Failure("unauthenticated", "NoCredentials", `${why}: ${file}`, { cause: error });
  }
  try {
    return credentialsSchema.parse(JSON.parse(text));
  } catch (error) {
    const why = error instanceof z.ZodError ? z.prettifyError(error) : "it is no JSON";
    throw new Failure("unauthenticated", "NoCredentials", `${file} is no credentials file: ${why}`, { cause: error });
  }
}
