import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { Codec } from "../codec.ts";
import { exchanges } from "../testing/exchanges.ts";
import { connection } from "./connection.ts";
import { domains } from "./domain.ts";
import { eventShapes, eventProcedures } from "./event.ts";
import { decodeMessage, encodeMessage, type Header, messageMax, MessageSplitter, remoteError } from "./message.ts";
import { migration } from "./migration.ts";
import { type Procedure, programs } from "./notation.ts";
import { qemu } from "./qemu.ts";

const head: Header = {
  program: programs.remote,
  version: 1,
  procedure: 7,
  type: "reply",
  serial: 9,
  status: "ok",
};

function message(size: number): Buffer {
  return encodeMessage(head, (to) => to.fixed(new Uint8Array(size).fill(size)));
}

describe("the splitter", () => {
  test("finds the same messages however the bytes are cut", () => {
    const sizes = fc.array(fc.integer({ min: 0, max: 900 }), { maxLength: 12 });
    const cuts = fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(sizes, cuts, (all, pieces) => {
        const wire = Buffer.concat(all.map(message));
        const found: string[] = [];
        const splitter = new MessageSplitter();
        for (let at = 0, turn = 0; at < wire.length; turn++) {
          const size = pieces[turn % pieces.length] ?? 1;
          expect(splitter.push(wire.subarray(at, at + size), (one) => found.push(one.toString("hex")))).toBeUndefined();
          at += size;
        }
        expect(found).toEqual(all.map((size) => message(size).subarray(4).toString("hex")));
      }),
    );
  });

  test.each([0, 27, messageMax + 5, 0xffff_ffff])("refuses the length %i before it takes any of it", (length) => {
    const wire = Buffer.alloc(64);
    wire.writeUInt32BE(length);
    const splitter = new MessageSplitter();
    expect(splitter.push(wire, () => expect.unreachable())).toContain(String(length));
  });

  test("takes the largest message that libvirt sends, in time that grows with its size", () => {
    const wire = Buffer.alloc(messageMax + 4);
    wire.writeUInt32BE(wire.length);
    const splitter = new MessageSplitter();
    let found = 0;
    for (let at = 0; at < wire.length; at += 65_536) {
      splitter.push(wire.subarray(at, at + 65_536), (one) => (found = one.length));
    }
    expect(found).toBe(messageMax);
  });
});

/** The procedures of the recorded steps. */
const recorded: Readonly<Record<string, readonly Procedure<unknown, unknown>[]>> = {
  handshake: [connection.authList, connection.connectOpen, connection.connectSupportsFeature],
  version: [connection.connectGetLibVersion],
  "missing domain": [domains.domainLookupByName],
  "register lifecycle": [eventProcedures.connectDomainEventCallbackRegisterAny],
  "started event": [domains.domainCreateWithFlags],
  state: [domains.domainGetState],
  stats: [connection.connectGetAllDomainStats],
  "job stats": [migration.domainGetJobStats],
  "node info": [connection.nodeGetInfo],
  qmp: [qemu.qemuDomainMonitorCommand],
  console: [domains.domainOpenConsole],
};

const messages = exchanges.map(({ step, from, hex }, at) => {
  const bytes = Buffer.from(hex, "hex");
  return { title: `${at}: ${step} from ${from}`, step, hex, bytes, seen: decodeMessage(bytes).head };
});

describe("bytes recorded from libvirtd", () => {
  test.each(messages.filter(({ seen }) => seen.type === "call" || seen.type === "reply"))(
    "$title are read to a value, and written back to the same bytes",
    ({ step, hex, bytes, seen }) => {
      const procedure = recorded[step]?.find(({ number }) => number === seen.procedure);
      if (!procedure) throw new Error(`no procedure ${seen.procedure} in step ${step}`);
      const codec: Codec<unknown> =
        seen.status === "error" ? remoteError : seen.type === "call" ? procedure.args : procedure.result;
      const { payload } = decodeMessage(bytes);
      const value = codec.read(payload);
      expect(payload.remaining).toBe(0);
      const back = encodeMessage(seen, (to) => codec.write(to, value));
      expect(back.subarray(4).toString("hex")).toBe(hex);
    },
  );

  test.each(messages.filter(({ seen }) => seen.type === "message"))(
    "$title are read to an event",
    ({ bytes, seen }) => {
      const event = eventShapes.find(({ procedure }) => procedure === seen.procedure);
      const { payload } = decodeMessage(bytes);
      expect(event?.codec.read(payload)).toMatchObject({ callbackId: 0, event: { domain: { name: "echo" } } });
      expect(payload.remaining).toBe(0);
    },
  );

  test("hold a console's bytes as they are, without length or padding", () => {
    const stream = messages.filter(({ seen }) => seen.type === "stream");
    expect(stream.map(({ seen }) => seen.procedure)).toEqual(stream.map(() => domains.domainOpenConsole.number));
    const spoken = stream.map(({ bytes, seen }) => `${seen.status} ${decodeMessage(bytes).payload.rest().toString()}`);
    expect(spoken).toEqual(["continue hi", "continue h", "continue i", "ok ", "ok "]);
  });

  test("say what they said then", () => {
    const read = (step: string, procedure: Procedure<unknown, unknown>): unknown => {
      const found = exchanges.find((one) => one.step === step && one.from === "daemon");
      const { payload } = decodeMessage(Buffer.from(found?.hex ?? "", "hex"));
      return procedure.result.read(payload);
    };
    expect(read("version", connection.connectGetLibVersion)).toEqual({ version: 11_003_000n });
    expect(read("state", domains.domainGetState)).toEqual({ state: 1, reason: 1 });
    expect(read("qmp", qemu.qemuDomainMonitorCommand)).toEqual({
      result: '{"return":{"status":"running","running":true},"id":"libvirt-479"}',
    });
    const missing = exchanges.find((one) => one.step === "missing domain" && one.from === "daemon");
    const error = decodeMessage(Buffer.from(missing?.hex ?? "", "hex"));
    expect(error.head.status).toBe("error");
    expect(remoteError.read(error.payload)).toMatchObject({ code: 42, level: 2 });
  });

  test("of which any bit is flipped are read or refused, and nothing else", () => {
    const outcome = (wire: Buffer): string => {
      try {
        const { head: seen, payload } = decodeMessage(wire);
        const codec = seen.status === "error" ? remoteError : connection.connectGetAllDomainStats.result;
        codec.read(payload);
        return "read";
      } catch (error) {
        return (error as Error).name;
      }
    };
    const any = fc.constantFrom(...messages);
    fc.assert(
      fc.property(any, fc.nat(), fc.integer({ min: 0, max: 7 }), ({ bytes }, at, bit) => {
        const bent = Buffer.from(bytes);
        const place = at % bent.length;
        bent.writeUInt8(bent.readUInt8(place) ^ (1 << bit), place);
        expect(["read", "XdrError"]).toContain(outcome(bent));
      }),
      { numRuns: 3_000 },
    );
  });
});

test("a header of unknown type or status is refused", () => {
  for (const place of [12, 20]) {
    const wire = message(0).subarray(4);
    wire.writeUInt32BE(9, place);
    expect(() => decodeMessage(wire)).toThrow("no enumeration member 9");
  }
});
