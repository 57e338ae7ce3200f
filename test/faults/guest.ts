/** One question to the probe inside a guest (guest/probe.c), over the network as any outside observer would ask. */
import { createConnection } from "node:net";

const controlPort = 7777;

/** Sends one line and returns the answer; throws when none comes in time or the probe says no. */
export function askGuest(ip: string, line: string, timeoutMs = 5000): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const socket = createConnection({ host: ip, port: controlPort });
    let text = "";
    const fail = (why: string): void => {
      socket.destroy();
      reject(new Error(`the guest at ${ip} was asked "${line}": ${why}`));
    };
    const timer = setTimeout(() => fail(`no answer within ${timeoutMs} ms`), timeoutMs);
    socket.once("connect", () => socket.write(`${line}\n`));
    socket.on("data", (part: Buffer) => {
      text += part.toString();
      if (!text.includes("\n")) return;
      clearTimeout(timer);
      const answer = JSON.parse(text) as Record<string, unknown>;
      if (answer["ok"] !== true) return fail(text.trim());
      socket.destroy();
      resolve(answer);
    });
    socket.once("error", (error) => {
      clearTimeout(timer);
      fail(error.message);
    });
    socket.once("close", () => {
      clearTimeout(timer);
      fail("the connection ended without an answer");
    });
  });
}

/** The identity of this boot of the guest: another one means that the guest was started again. */
export async function bootIdOf(ip: string, timeoutMs?: number): Promise<string> {
  return String((await askGuest(ip, "bootid", timeoutMs))["bootId"]);
}
