/**
 * What the test and the programs under test tell each other about awaits: files in one folder, because the programs are killed at
 * any moment and nothing that they hold survives.
 *
 *   orders.json    what to do; read at a program's start and at each SIGUSR2
 *   hits/NAME      made by the program that strikes at a step, before it does: each step strikes once
 *   visited/N/WHO  the steps that a program (vstation, host1, ...) has come by since the last SIGUSR2, written when N is ordered;
 *                  with `.left` behind it, those that it came by until it ended under order N
 */
import { join } from "node:path";
import * as z from "zod";

export const victims = ["self", "libvirtd", "postgres"] as const;
/** `during`: what is awaited has begun. `after`: it has ended, and nothing of what follows has happened. */
export const moments = ["during", "after"] as const;

export const ordersSchema = z.strictObject({
  /** Counts the orders: a program that answers names the order it answers to. */
  number: z.int(),
  steps: z.array(z.string()),
  moment: z.enum(moments),
  victim: z.enum(victims),
  /** The lab's home. */
  home: z.string(),
});
export type Orders = z.infer<typeof ordersSchema>;
export type Moment = Orders["moment"];
export type AwaitVictim = Orders["victim"];

/** The environment variable with the folder's path; without it a program is as it always is. */
export const variable = "VSTATION_AWAITS";

export const ordersFile = (folder: string): string => join(folder, "orders.json");
export const hitFile = (folder: string, step: string): string => join(folder, "hits", step.replaceAll("/", "_"));
export const visitedFile = (folder: string, number: number, who: string): string =>
  join(folder, "visited", String(number), who);
/** The same of a process that has ended by itself; a program may have children of the same name. */
export const leftFile = (folder: string, number: number, who: string, pid: number): string =>
  `${visitedFile(folder, number, who)}.${pid}.left`;
