/**
 * A monitor of our own in the QEMU of a guest that comes by post-copy. libvirt's answers nothing while memory comes, and libvirt 11.3 ends itself
 * when it is to join two QEMUs anew (its prepare for `postcopy-resume` takes a null pointer for a file), so what a guest in two halves needs
 * is asked of QEMU itself. The socket is in libvirt's own folder, for root and QEMU alone.
 */
import { createConnection } from "node:net";
import { Failure } from "../../lib/errors.ts";
import type { InstanceId } from "../../lib/ids.ts";
import { within } from "../../lib/retry.ts";

const askMs = 5_000;
const longestAnswer = 1_048_576;

export function monitorSocket(id: InstanceId): string {
  return `/var/lib/libvirt/qemu/vstation-${id}.sock`;
}

/** The machine with it. */
export function withMonitor(xml: string, id: InstanceId): string {
  const args = ["-chardev", `socket,id=vstation,path=${monitorSocket(id)},server=on,wait=off`];
  const all = [...args, "-mon", "chardev=vstation,mode=control"];
  const command = `<qemu:commandline>${all.map((arg) => `<qemu:arg value='${arg}'/>`).join("")}</qemu:commandline>`;
  return xml.replace("</domain>", `${command}</domain>`);
}

/** One command on a connection of its own: QEMU serves one at a time, and none is held. */
export async function askMonitor(
  id: InstanceId,
  command: string,
  args: Record<string, unknown> = {},
): Promise<Record<string, unknown>> {
  const socket = createConnection(monitorSocket(id));
  const { promise, resolve, reject } = Promise.withResolvers<Record<string, unknown>>();
  const send = (execute: string, given: Record<string, unknown>): void => {
    socket.write(`${JSON.stringify({ execute, arguments: given })}\n`);
  };
  let pending = "";
  let answers = 0;
  socket.setEncoding("utf8");
  socket.on("error", reject);
  socket.on("close", () => reject(new Failure("unavailable", "MonitorLost", "QEMU has closed its monitor")));
  socket.on("data", (part: string) => {
    const lines = (pending + part).split("\n");
    pending = lines.pop() ?? "";
    if (pending.length > longestAnswer) socket.destroy();
    for (const line of lines) {
      const said = parse(line);
      if (said === null || "event" in said) continue;
      if ("QMP" in said) send("qmp_capabilities", {});
      else if ("error" in said) {
        const text = JSON.stringify(said["error"]).slice(0, 500);
        reject(new Failure("conflict", "MonitorRefused", `QEMU refused ${command}: ${text}`));
      } else if (++answers === 1) send(command, args);
      else resolve((said["return"] ?? {}) as Record<string, unknown>);
    }
  });
  try {
    return await within(askMs, `QEMU's answer to ${command}`, promise);
  } finally {
    socket.destroy();
  }
}

function parse(line: string): Record<string, unknown> | null {
  try {
    const said = JSON.parse(line) as unknown;
    return typeof said === "object" && said !== null ? (said as Record<string, unknown>) : null;
  } catch {
    return null;
  }
}
