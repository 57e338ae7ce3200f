/** One logger for every process: JSON lines on standard error, because standard output belongs to the program's answer. */
import { pino, type Logger } from "pino";
import { formatError } from "./errors.ts";

export type Log = Logger;

const secretKeys = ["secretKey", "token", "password", "privateKey", "userData", "authorization", "nativeToken"];

/** Creates the root logger of a process. Level from VSTATION_LOG (trace..silent), default `info`. */
export function createLog(name: string, bindings: Record<string, unknown> = {}): Log {
  return pino(
    {
      name,
      level: process.env["VSTATION_LOG"] ?? "info",
      timestamp: pino.stdTimeFunctions.isoTime,
      redact: { paths: secretKeys.flatMap((key) => [key, `*.${key}`]), censor: "[secret]" },
      serializers: { err: (error: unknown) => ({ chain: formatError(error), stack: stackOf(error) }) },
    },
    pino.destination({ dest: 2, sync: false }),
  ).child(bindings);
}

function stackOf(error: unknown): string | undefined {
  return error instanceof Error ? error.stack : undefined;
}
