/** The home: is it there, are its secrets kept, what does the supervisor say of its programs. Reads files only. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { isFailure } from "../../lib/errors.ts";
import { readCredentials, type Credentials } from "../context.ts";
import { ok, warning, wrong, type Finding } from "./finding.ts";

const programSchema = z.looseObject({
  state: z.string(),
  pid: z.int().nullable(),
  since: z.string(),
  restarts: z.int(),
  lastEnd: z.string().nullable(),
});
type Program = z.infer<typeof programSchema> & { services?: Record<string, Program> };

/** As the supervisor of `npm start` writes it; a host's own services stand beside it under their own names. */
const statusSchema = z.looseObject({
  state: z.enum(["starting", "ready", "stopping", "off"]),
  supervisor: z.int().nullable(),
  children: z.record(z.string(), programSchema),
});
export type Status = z.infer<typeof statusSchema>;

export interface HomeState {
  credentials: Credentials | undefined;
  status: Status | undefined;
}

export function examineHome(
  home: string,
  processAlive: (pid: number) => boolean,
): { findings: Finding[]; state: HomeState } {
  const state: HomeState = { credentials: undefined, status: undefined };
  const start = `\`npm start -- --home ${home}\` makes it and starts VStation`;
  if (statSync(home, { throwIfNoEntry: false })?.isDirectory() !== true) {
    return {
      findings: [wrong("home", `there is no folder ${home}`, `${start}; or point --home at the right one`)],
      state,
    };
  }
  const findings = [ok("home", home)];
  findings.push(...examineStatus(home, state, processAlive), ...examineCredentials(home, state));
  return { findings, state };
}

function examineStatus(home: string, state: HomeState, processAlive: (pid: number) => boolean): Finding[] {
  const file = join(home, "status.json");
  const text = readIfThere(file);
  // A home that holds nothing but credentials belongs to a VStation that runs elsewhere.
  if (text === undefined)
    return [ok("supervisor", "none in this home: VStation runs elsewhere, or was never started here")];
  const parsed = statusSchema.safeParse(jsonOf(text));
  if (!parsed.success) {
    return [wrong("supervisor", `${file} is no status file`, `\`npm start -- --home ${home}\` writes it anew`)];
  }
  state.status = parsed.data;
  const { supervisor } = parsed.data;
  const restart = `\`npm start -- --home ${home} --detach\``;
  if (parsed.data.state === "off") return [wrong("supervisor", "the lab is off", `${restart} starts it`)];
  if (supervisor === null || !processAlive(supervisor)) {
    const message = "the supervisor is gone; its programs go on, but none is started again when it ends";
    return [wrong("supervisor", message, `${restart} takes them over`), ...examinePrograms(home, parsed.data)];
  }
  const told = ok("supervisor", `process ${supervisor} says: ${parsed.data.state}`);
  const starting = warning(
    "supervisor",
    `still ${parsed.data.state}`,
    `wait, or see ${join(home, "log/supervisor.log")}`,
  );
  return [parsed.data.state === "ready" ? told : starting, ...examinePrograms(home, parsed.data)];
}

function examinePrograms(home: string, status: Status): Finding[] {
  return Object.entries(status.children).flatMap(([name, program]) => {
    const services = z.record(z.string(), programSchema).safeParse(program["services"]);
    const inner = Object.entries(services.data ?? {}).map(([service, one]) =>
      examineProgram(`${name}/${service}`, one, join(home, "hosts", name, "log", `${service}.log`)),
    );
    const [, host, service = "host"] = /^(host\d+)(?:\/(\w+))?$/.exec(name) ?? [];
    const log =
      host === undefined ? join(home, "log", `${name}.log`) : join(home, "hosts", host, "log", `${service}.log`);
    return [examineProgram(name, program, log), ...inner];
  });
}

function examineProgram(name: string, program: Program, log: string): Finding {
  const check = `program ${name}`;
  const last = program.lastEnd === null ? "" : `, last end: ${program.lastEnd}`;
  const told = `${program.state} since ${program.since}, started again ${program.restarts} times${last}`;
  switch (program.state) {
    case "running":
      return program.restarts === 0
        ? ok(check, `running since ${program.since}`)
        : warning(check, told, `see why in ${log}`);
    case "crash loop":
      return wrong(check, `ends again and again: ${told}`, `the reason is at the end of ${log}`);
    default:
      return wrong(check, told, `the reason is at the end of ${log}`);
  }
}

function examineCredentials(home: string, state: HomeState): Finding[] {
  const file = join(home, "credentials.json");
  try {
    state.credentials = readCredentials(file);
  } catch (error) {
    const next = `VStation writes it when it is ready: \`npm start -- --home ${home}\``;
    return [wrong("credentials", isFailure(error) ? error.message : String(error), next)];
  }
  const open = (statSync(file).mode & 0o077) !== 0;
  if (open) {
    return [wrong("credentials", `${file} can be read by others; it is as good as root`, `chmod 600 ${file}`)];
  }
  return [ok("credentials", `${file}, for ${state.credentials.nativeEndpoint}`)];
}

function readIfThere(file: string): string | undefined {
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined; // refused by the schema
  }
}
