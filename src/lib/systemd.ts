/**
 * What a service tells systemd: that it is ready, and every now and then that it still turns. Node has no datagram sockets of the unix
 * kind, so systemd's own `systemd-notify` says it; a program whose event loop hangs starts none and is killed and started again by
 * its watchdog. Outside systemd all of it does nothing.
 */
import { spawn } from "node:child_process";

/** Says that the service is ready and keeps its watchdog quiet from now on. Returns how to stop that. */
export function notifyReady(): () => void {
  if (process.env["NOTIFY_SOCKET"] === undefined) return () => undefined;
  notify("--ready");
  const watchdogUs = Number(process.env["WATCHDOG_USEC"] ?? 0);
  if (!(watchdogUs > 0)) return () => undefined;
  const timer = setInterval(() => notify("WATCHDOG=1"), watchdogUs / 1000 / 3);
  return () => clearInterval(timer);
}

/** systemd tells the lost ones by the next one being late; there is nobody else to tell. */
function notify(what: string): void {
  spawn("systemd-notify", [what], { stdio: "ignore" }).on("error", () => undefined);
}
