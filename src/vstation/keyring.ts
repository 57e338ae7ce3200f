/**
 * Secrets at rest. A signature of the CVM API can only be checked with the secret itself, so secrets cannot be kept as hashes; they
 * are kept sealed (AES-256-GCM), and the key is not in the database but in `pkiDir/secrets.json` (0600), beside the CA: a copy
 * of the database alone lets nobody sign.
 *
 * A sealed text names the key that sealed it and is bound to what it belongs to: it opens nowhere else. `secrets.json` may hold
 * several keys; `current` seals. To rotate: add a key, name it `current`, restart; what an older key sealed is sealed anew at the
 * start of any VStation (store/access-keys.ts), then the older key may go. Replicas share the folder, and one that meets a key that
 * it does not know reads the file again.
 */
import { createCipheriv, createDecipheriv, randomBytes } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { createDurably } from "../lib/durable.ts";
import { wrap } from "../lib/errors.ts";
import { readIfThere } from "../lib/files.ts";

const keyBytes = 32;
const nonceBytes = 12;
const tagBytes = 16;
const mark = "sealed:1:";

const fileSchema = z
  .strictObject({
    current: z.string(),
    keys: z.record(
      z.string().regex(/^[a-z0-9-]{1,32}$/, "from 1 to 32 lower-case letters, digits and hyphens"),
      z.base64().refine((text) => Buffer.from(text, "base64").length === keyBytes, `not ${keyBytes} bytes`),
    ),
  })
  .refine(({ current, keys }) => Object.hasOwn(keys, current), "`current` names no key");

type Keys = ReadonlyMap<string, Buffer>;

export class Keyring {
  readonly #file: string;
  #current = "";
  #keys: Keys = new Map();

  private constructor(file: string) {
    this.#file = file;
  }

  /** `mayMake`: nothing is sealed yet. Where something is, a file that is missing is lost and must be brought back. */
  static async open(directory: string, mayMake: boolean): Promise<Keyring> {
    const keyring = new Keyring(join(directory, "secrets.json"));
    if (await keyring.#read()) return keyring;
    if (!mayMake) {
      throw new Error(
        `${keyring.#file} is missing, and the database holds secrets that it opens: a replica gets the folder from the first one, ` +
          "a lost one comes back from a backup; without it every API key has to be made anew",
      );
    }
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const fresh = { current: "k1", keys: { k1: randomBytes(keyBytes).toString("base64") } };
    // Of two replicas that start together one wins, and both read what it wrote.
    await createDurably(keyring.#file, `${JSON.stringify(fresh, undefined, 2)}\n`);
    await keyring.#read();
    return keyring;
  }

  /** `about` is what the secret belongs to; only with the same words does it open again. */
  seal(secret: string, about: string): string {
    const nonce = randomBytes(nonceBytes);
    const cipher = createCipheriv("aes-256-gcm", this.#keys.get(this.#current) ?? Buffer.alloc(0), nonce);
    cipher.setAAD(Buffer.from(about));
    const body = Buffer.concat([cipher.update(secret, "utf8"), cipher.final()]);
    return `${mark}${this.#current}:${Buffer.concat([nonce, body, cipher.getAuthTag()]).toString("base64url")}`;
  }

  /** Throws when it was sealed by a key that is not here, for something else, or was changed. */
  async open(sealed: string, about: string): Promise<string> {
    const [id = "", text = ""] = sealed.slice(mark.length).split(":");
    if (sealed.startsWith(mark) && !this.#keys.has(id)) await this.#read();
    const key = this.#keys.get(id);
    if (!sealed.startsWith(mark) || key === undefined) {
      throw new Error(`the secret of ${about} is not sealed by a key of ${this.#file}`);
    }
    const bytes = Buffer.from(text, "base64url");
    try {
      const decipher = createDecipheriv("aes-256-gcm", key, bytes.subarray(0, nonceBytes));
      decipher.setAAD(Buffer.from(about));
      decipher.setAuthTag(bytes.subarray(-tagBytes));
      const body = decipher.update(bytes.subarray(nonceBytes, -tagBytes));
      return Buffer.concat([body, decipher.final()]).toString("utf8");
    } catch (error) {
      throw wrap(
        `opening the secret of ${about} by ${this.#file} (another VStation's? replicas have one folder)`,
        error,
      );
    }
  }

  /** What begins so is sealed by the current key; everything else is to be sealed anew. */
  get prefix(): string {
    return `${mark}${this.#current}:`;
  }

  async #read(): Promise<boolean> {
    const text = await readIfThere(this.#file);
    if (text === undefined) return false;
    const parsed = fileSchema.safeParse(jsonOrUndefined(text));
    if (!parsed.success) {
      // What is wrong is told by its place: the file's content stays out of every message.
      const places = parsed.error.issues.map(({ path, message }) =>
        [path.join("."), message].filter(Boolean).join(": "),
      );
      throw new Error(`${this.#file} is damaged (${places.join("; ")}); restore it from a backup`);
    }
    const { current, keys } = parsed.data;
    this.#keys = new Map(Object.entries(keys).map(([id, key]) => [id, Buffer.from(key, "base64")]));
    this.#current = current;
    return true;
  }
}

function jsonOrUndefined(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // refused by the schema that comes next
  }
}

/** True for what {@link Keyring.seal} made; false for a secret from before there was a keyring. */
export function isSealed(text: string): boolean {
  return text.startsWith(mark);
}
