/**
 * `doctor --bundle`: what somebody needs who was not there, in one file that can be sent: findings, state, the ends of logs.
 *
 * No secret may be in it. Files that hold secrets are not read in (keys, tokens), but for the two configurations, whose secret
 * fields are taken out by name; and last, every secret that this home is known to have is taken out of every text, wherever
 * it may have got into.
 */
import { closeSync, fstatSync, openSync, readdirSync, readFileSync, readSync } from "node:fs";
import { release, type, uptime } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { rawRoutes } from "../../api/native/routes.ts";
import type { NativeClient } from "../../api/native/client.ts";
import { formatError } from "../../lib/errors.ts";
import { listAll, newestOperations } from "../resolve.ts";
import { version } from "../version.ts";
import type { Diagnosis } from "./doctor.ts";
import { tar, type Entry } from "./tar.ts";

const logEnd = 2 * 1024 * 1024;
const readMs = 20_000;

/** The bytes of the .tar.gz. */
export async function bundle(home: string, diagnosis: Diagnosis, now: Date): Promise<Buffer> {
  const texts = new Map<string, string>();
  texts.set("findings.json", pretty(diagnosis.findings));
  texts.set("machine.json", pretty(machine(now)));
  for (const name of ["status.json", "lab.json", "vstation.json"])
    put(texts, name, () => readFileSync(join(home, name), "utf8"));
  for (const name of filesIn(join(home, "log"))) put(texts, `log/${name}`, () => endOf(join(home, "log", name)));
  for (const host of filesIn(join(home, "hosts"))) {
    const dir = join(home, "hosts", host);
    put(texts, `hosts/${host}/compute.json`, () => readFileSync(join(dir, "compute.json"), "utf8"));
    for (const name of filesIn(join(dir, "log")))
      put(texts, `hosts/${host}/log/${name}`, () => endOf(join(dir, "log", name)));
  }
  for (const name of ["meminfo", "loadavg", "mounts"])
    put(texts, `proc/${name}`, () => readFileSync(`/proc/${name}`, "utf8"));
  if (diagnosis.client !== undefined) await zone(texts, diagnosis.client);

  const clean = cleaner(secretsOf(home));
  const entries: Entry[] = [...texts].map(([name, text]) => ({
    name: `vstation-bundle/${name.replace(/[^\w./-]/g, "_").slice(-80)}`,
    data: Buffer.from(clean(text)),
  }));
  return gzipSync(tar(entries, now));
}

function machine(now: Date): Record<string, unknown> {
  return {
    at: now.toISOString(),
    version,
    node: process.versions.node,
    system: `${type()} ${release()}`,
    uptimeSeconds: Math.round(uptime()),
  };
}

async function zone(texts: Map<string, string>, client: NativeClient): Promise<void> {
  const metrics = async (): Promise<string> => {
    const options = { headers: client.headers, signal: AbortSignal.timeout(readMs) };
    return await (await fetch(client.endpoint + rawRoutes.metrics.path, options)).text();
  };
  const reads: [string, () => Promise<string>][] = [
    ["zone/hosts.json", async () => pretty(await listAll(client, "host"))],
    ["zone/instances.json", async () => pretty(await listAll(client, "instance"))],
    ["zone/operations.json", async () => pretty((await newestOperations(client, {}, 500)).operations)],
    ["zone/images.json", async () => pretty(await listAll(client, "image"))],
    ["zone/metrics.txt", metrics],
  ];
  for (const [name, read] of reads) {
    texts.set(name, await read().catch((error: unknown) => `cannot be read: ${formatError(error)}\n`));
  }
}

/** What cannot be read says so in its place: its absence is a fact too. */
function put(texts: Map<string, string>, name: string, read: () => string): void {
  try {
    texts.set(name, read());
  } catch (error) {
    texts.set(name, `cannot be read: ${formatError(error)}\n`);
  }
}

function filesIn(folder: string): string[] {
  try {
    return readdirSync(folder).toSorted();
  } catch {
    return []; // said by the finding on the home
  }
}

function endOf(file: string): string {
  const descriptor = openSync(file, "r");
  try {
    const { size } = fstatSync(descriptor);
    const buffer = Buffer.alloc(Math.min(size, logEnd));
    const read = readSync(descriptor, buffer, 0, buffer.length, size - buffer.length);
    return buffer.subarray(0, read).toString("utf8");
  } finally {
    closeSync(descriptor);
  }
}

function pretty(value: unknown): string {
  return `${JSON.stringify(value, undefined, 2)}\n`;
}

/** Every secret that this home is known to hold, longest first. */
export function secretsOf(home: string): string[] {
  const found = new Set<string>();
  const gather = (file: string, from: (text: string) => (string | undefined)[]): void => {
    try {
      for (const secret of from(readFileSync(file, "utf8")))
        if (secret !== undefined && secret.length >= 8) found.add(secret);
    } catch {
      return; // not there: then there is nothing to hide
    }
  };
  const named = /"(?:secretKey|nativeToken|token|password)"\s*:\s*"([^"]+)"/g;
  const values = (text: string): (string | undefined)[] => [...text.matchAll(named)].map((match) => match[1]);
  const password = (text: string): (string | undefined)[] => [
    /"postgres(?:ql)?:\/\/[^:@"/]*:([^@"]+)@/.exec(text)?.[1],
  ];
  for (const name of ["credentials.json", "vstation.json"])
    gather(join(home, name), (text) => [...values(text), ...password(text)]);
  for (const host of filesIn(join(home, "hosts")))
    gather(join(home, "hosts", host, "join-token"), (text) => [text.trim()]);
  return [...found].toSorted((a, b) => b.length - a.length);
}

/** Takes secrets out of a text: those known by value, private keys by their form, and fields by their name. */
export function cleaner(secrets: readonly string[]): (text: string) => string {
  const hidden = "[secret]";
  return (text) => {
    let clean = text;
    for (const secret of secrets) clean = clean.replaceAll(secret, hidden);
    return clean
      .replace(/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(-----END [A-Z ]*PRIVATE KEY-----|$)/g, hidden)
      .replace(/("(?:secretKey|nativeToken|token|password|userData|privateKey)"\s*:\s*)"[^"]*"/g, `$1"${hidden}"`)
      .replace(/(postgres(?:ql)?:\/\/[^:@"/\s]*:)[^@"\s]+@/g, `$1${hidden}@`)
      .replace(/(authorization:\s*bearer\s+)\S+/gi, `$1${hidden}`);
  };
}
