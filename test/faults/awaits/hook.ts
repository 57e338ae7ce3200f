/**
 * Loaded into VStation and Compute before anything else (`node --import`): passes each await of theirs through a function that
 * keeps count, and at the ordered ones kills: the program itself, or what it depends on. The source on the disk stays as it is.
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { registerHooks } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { writeWhole } from "../../../lab/home.ts";
import { childVariable, handlesOf, initOf, signal } from "../../../lab/processes.ts";
import { instrument, isProgram, withoutTypes } from "./list.ts";
import { hitFile, leftFile, ordersFile, ordersSchema, variable, visitedFile, type Orders } from "./orders.ts";

const folder = process.env[variable];
const source = pathToFileURL(join(import.meta.dirname, "../../../src/")).href;
const call = "globalThis.__vstationAwait";

function begin(home: string): void {
  const visited = new Set<string>();
  let orders = read(home);
  let armed = new Set(orders?.steps);
  const who = process.env[childVariable] ?? "unknown";

  process.on("SIGUSR2", () => {
    orders = read(home);
    armed = new Set(orders?.steps);
    if (orders === undefined) return;
    const file = visitedFile(home, orders.number, who);
    mkdirSync(dirname(file), { recursive: true });
    writeWhole(file, JSON.stringify([...visited]), 0o600);
    visited.clear();
  });
  process.on("exit", () => {
    if (orders === undefined) return;
    const file = leftFile(home, orders.number, who, process.pid);
    mkdirSync(dirname(file), { recursive: true });
    writeWhole(file, JSON.stringify([...visited]), 0o600);
  });

  (globalThis as Record<string, unknown>)["__vstationAwait"] = (step: string, value: unknown): unknown => {
    visited.add(step);
    if (!armed.delete(step) || orders === undefined || !take(home, step)) return value;
    const { moment, victim, home: lab } = orders;
    if (moment === "after" && value instanceof Promise) return value.finally(() => strike(victim, lab));
    strike(victim, lab);
    return value;
  };

  registerHooks({
    load(url, context, next) {
      const file = url.startsWith(source) ? fileURLToPath(url).slice(fileURLToPath(source).length) : "";
      if (!isProgram(file)) return next(url, context);
      const code = withoutTypes(readFileSync(fileURLToPath(url), "utf8"));
      return { format: "module", shortCircuit: true, source: instrument(file, code, call) };
    },
  });
}

function read(home: string): Orders | undefined {
  try {
    return ordersSchema.parse(JSON.parse(readFileSync(ordersFile(home), "utf8")));
  } catch {
    return undefined; // none yet
  }
}

function take(home: string, step: string): boolean {
  try {
    writeFileSync(hitFile(home, step), `${process.pid}\n`, { flag: "wx" });
    return true;
  } catch {
    return false; // struck before, by an earlier life or by another host
  }
}

function strike(victim: Orders["victim"], lab: string): void {
  switch (victim) {
    case "self":
      return void signal(process.pid, "SIGKILL");
    case "postgres": {
      // VStation is outside every namespace: it sees the one that PostgreSQL lives in.
      const init = initOf(handlesOf(lab).get("postgres") ?? 0);
      if (init !== undefined) signal(init, "SIGKILL");
      return;
    }
    case "libvirtd":
      // Compute is inside its host: it sees the processes of that host only.
      for (const pid of readdirSync("/proc").filter((name) => /^\d+$/.test(name))) {
        if (comm(pid) === "libvirtd\n") signal(Number(pid), "SIGKILL");
      }
  }
}

function comm(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8");
  } catch {
    return ""; // it ended
  }
}

if (folder !== undefined) begin(folder);
