/** The program that libvirt offers beside its own: QEMU's monitor and the guest agent, raw. */
import { hyper, int, uint } from "../codec.ts";
import { domain, domainOrNull, proc, quick, table, text, textOrNull } from "./notation.ts";

export const qemu = table("qemu", {
  qemuDomainMonitorCommand: proc(1, { domain, command: text, flags: uint }, { result: text }),
  qemuDomainAgentCommand: proc(3, { domain, command: text, timeout: int, flags: uint }, { result: textOrNull }),
  qemuConnectDomainMonitorEventRegister: quick(
    4,
    { domain: domainOrNull, event: textOrNull, flags: uint },
    { callbackId: int },
  ),
  qemuConnectDomainMonitorEventDeregister: quick(5, { callbackId: int }),
});

/** What the daemon sends for a monitor event: args of a message that is never called. */
export const qemuMessages = table("qemu", {
  qemuDomainMonitorEvent: proc(6, {
    callbackId: int,
    domain,
    event: text,
    seconds: hyper,
    micros: uint,
    details: textOrNull,
  }),
});
