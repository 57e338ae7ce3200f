/** Ping and pong: messages without serial and payload, in both directions. (src/rpc/virkeepaliveprotocol.x) */
import { proc, table } from "./notation.ts";

export const keepalive = table("keepalive", {
  ping: proc(1),
  pong: proc(2),
});

/** `VIR_DRV_FEATURE_PROGRAM_KEEPALIVE`: asking for this feature is how a client allows the daemon to ping it. */
export const keepaliveFeature = 11;
