/** The serial console, read from and typed into through the instance's host. */
import * as z from "zod";
import { failure } from "../../core/failure-codes.ts";
import type { ConsoleSession, InstanceView } from "../cloud.ts";
import type { HostSession } from "../agents/session.ts";
import type { AppContext } from "./context.ts";

const askMs = 10_000;
const logSchema = z.object({ data: z.base64(), truncated: z.boolean() });

function sessionOf({ agents }: AppContext, instance: InstanceView): HostSession {
  if (instance.hostId === null) {
    throw failure("HostUnreachable", `instance ${instance.id} is on no host now`);
  }
  return agents.session(instance.hostId);
}

export async function consoleLog(
  context: AppContext,
  instance: InstanceView,
  bytes: number,
): Promise<{ data: Buffer; truncated: boolean }> {
  const { asks } = sessionOf(context, instance);
  const answer = logSchema.parse(await asks.ask({ kind: "console.log", instanceId: instance.id, bytes }, askMs));
  return { data: Buffer.from(answer.data, "base64"), truncated: answer.truncated };
}

export async function consoleOpen(context: AppContext, instance: InstanceView): Promise<ConsoleSession> {
  const { asks, consoles } = sessionOf(context, instance);
  // It takes output before the host is asked: the first bytes come together with the answer.
  const console = consoles.create();
  try {
    await asks.ask({ kind: "console.open", instanceId: instance.id, session: console.name }, askMs);
    return console;
  } catch (error) {
    console.close();
    throw error;
  }
}
