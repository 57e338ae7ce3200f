/** The verbs that reach into the process and the guest: console, picture, QEMU's monitor, the guest's agent. */
import * as z from "zod";
import { Failure } from "../../lib/errors.ts";
import { deadlineOf } from "../calls.ts";
import { defaultDeadlineMs } from "../client.ts";
import type { DomainVerbs } from "../contract.ts";
import { protocolError, QmpError } from "../errors.ts";
import { domains } from "../protocol/domain.ts";
import { qemu } from "../protocol/qemu.ts";
import { type Call, flags, type OpenStream } from "./call.ts";

type GuestVerbs = Pick<DomainVerbs, "consoleOpen" | "screenshot" | "qmp" | "agent" | "timeGet" | "timeSet">;

/** A 16k screen in 24 bits is 400 MB as PPM; we refuse to hold more than this for one picture. */
const pictureMax = 256 * 1024 * 1024;

const answer = z.union([
  z.looseObject({ return: z.unknown() }).transform((value) => ({ ok: true as const, value: value.return })),
  z
    .looseObject({ error: z.looseObject({ class: z.string(), desc: z.string() }) })
    .transform((value) => ({ ok: false as const, error: value.error })),
]);

export function guestVerbs(call: Call, openStream: OpenStream): GuestVerbs {
  return {
    async consoleOpen(domain, options) {
      const args = { domain, device: options?.device, flags: flags([options?.force, 1]) };
      return (await openStream(domains.domainOpenConsole, args, options)).stream;
    },
    async screenshot(domain, options) {
      const args = { domain, screen: options?.screen ?? 0, flags: 0 };
      const { result, stream } = await openStream(domains.domainScreenshot, args, options);
      const gaveUp = setTimeout(() => stream.abort(), deadlineOf(options, defaultDeadlineMs));
      try {
        const pieces: Uint8Array[] = [];
        let size = 0;
        for await (const piece of stream) {
          size += piece.length;
          if (size > pictureMax) throw new Failure("limit", "LibvirtPicture", "the guest's screen is too large");
          pieces.push(piece);
        }
        return { mime: result.mime ?? "application/octet-stream", bytes: Buffer.concat(pieces, size) };
      } finally {
        clearTimeout(gaveUp);
        stream.abort();
      }
    },
    async qmp(domain, command, args, options) {
      const text = request(command, args);
      const { result } = await call(qemu.qemuDomainMonitorCommand, { domain, command: text, flags: 0 }, options);
      return parse(command, result);
    },
    async agent(domain, command, args, options) {
      const deadlineMs = deadlineOf(options, defaultDeadlineMs);
      // libvirt counts in whole seconds. It should give up first, so that the outcome is its own timeout and known.
      const timeout = Math.max(1, Math.floor(deadlineMs / 1000) - 1);
      const wire = { domain, command: request(command, args), timeout, flags: 0 };
      const { result } = await call(qemu.qemuDomainAgentCommand, wire, options);
      return result === undefined ? undefined : parse(command, result);
    },
    async timeGet(domain, options) {
      const { seconds, nanoseconds } = await call(domains.domainGetTime, { domain, flags: 0 }, options);
      return Number(seconds) * 1_000 + nanoseconds / 1_000_000;
    },
    async timeSet(domain, ms, options) {
      const seconds = BigInt(Math.floor(ms / 1_000));
      const nanoseconds = Math.floor((ms % 1_000) * 1_000_000);
      await call(domains.domainSetTime, { domain, seconds, nanoseconds, flags: 0 }, options);
    },
  };
}

function request(command: string, args: Record<string, unknown> | undefined): string {
  return JSON.stringify({ execute: command, ...(args === undefined ? {} : { arguments: args }) });
}

/** Reads QMP's answer. Errors: {@link QmpError}, or `internal` when it is no QMP. */
function parse(command: string, text: string): unknown {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw protocolError(`the answer to ${command} is not JSON`, { error: String(error) });
  }
  const read = answer.safeParse(json);
  if (!read.success) throw protocolError(`the answer to ${command} is not QMP`);
  if (!read.data.ok) throw new QmpError(command, read.data.error.class, read.data.error.desc);
  return read.data.value;
}
