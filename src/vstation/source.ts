/** Where a request comes from, also one that another replica has passed on (pass-on.ts). */
import type { IncomingMessage } from "node:http";

/** Who asked, as a replica says of what it passes on. The public listener takes it away from whatever comes there. */
export const clientHeader = "x-vstation-client";

export function sourceOf(request: IncomingMessage): string {
  const told = request.headers[clientHeader];
  return typeof told === "string" ? told : (request.socket.remoteAddress ?? "");
}
