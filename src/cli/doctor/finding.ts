/** What `doctor` found: each finding says what is so and, unless all is well, what to do next. */
import { formatError } from "../../lib/errors.ts";

export interface Finding {
  /** What was looked at. */
  check: string;
  level: "ok" | "warning" | "error";
  message: string;
  next: string | null;
}

export function ok(check: string, message: string): Finding {
  return { check, level: "ok", message, next: null };
}
export function warning(check: string, message: string, next: string): Finding {
  return { check, level: "warning", message, next };
}
export function wrong(check: string, message: string, next: string): Finding {
  return { check, level: "error", message, next };
}

/** A check that itself breaks is a finding: the doctor goes on to the next one. */
export async function examine(check: string, look: () => Finding[] | Promise<Finding[]>): Promise<Finding[]> {
  try {
    return await look();
  } catch (error) {
    return [
      wrong(check, `cannot be examined: ${formatError(error)}`, "run it as the user that runs VStation, or as root"),
    ];
  }
}
