/**
 * What a guest that moves is sent by: TLS from QEMU to QEMU by certificates of their own (compute/migration/qemu-certificate.ts), plain text
 * only where the zone says so; and what is refused, with the guest untouched, where a certificate is not what it should be.
 */
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { defaultCeilingMs } from "../../src/core/migration/policy.ts";
import { until } from "../until.ts";
import { dyingAt, inTheCopy, type MovingBed, movingBedForAll, patience } from "./support/moving-bed.ts";

let bed: MovingBed;
movingBedForAll((made) => (bed = made));

const [here, there] = [() => bed.here, () => bed.there];

test("the copy goes by TLS to a host of that very name, or in plain text where the zone says so", async () => {
  for (const transport of ["tls", "plain"] as const) {
    await zoneSays(transport);
    const guest = await bed.boot(here());
    const slow = bed.slowly();
    try {
      const move = bed.move(guest, there());
      await inTheCopy(move);
      const ask = `virsh -q qemu-monitor-command ${guest.wanted.id} '{"execute":"query-migrate-parameters"}'`;
      const { return: said } = JSON.parse(here().host.sh(ask)) as { return: Record<string, unknown> };
      const name = transport === "tls" ? there().session.hostId : "";
      expect([said["tls-creds"] !== "", said["tls-hostname"]]).toEqual([transport === "tls", name]);
      slow.end();
      await move.untilOver();
      expect(move.end).toEqual({ as: "SUCCEEDED" });
    } finally {
      slow.end();
    }
    await bed.expectWhole(guest);
  }
  await zoneSays("tls");
});

test("a guest's memory goes over as many connections as the zone says, and by post-copy over one", async () => {
  for (const { session } of bed.places) session.migrationConnections = 4;
  await zoneSays("tls");
  for (const [policy, channels] of [
    ["throttle", 4],
    ["postcopy", null],
  ] as const) {
    const guest = await bed.boot(here());
    const slow = bed.slowly();
    try {
      const move = bed.move(guest, there(), { policy, ceilingMs: defaultCeilingMs });
      await inTheCopy(move);
      const ask = (what: string) =>
        here().host.sh(`virsh -q qemu-monitor-command ${guest.wanted.id} '{"execute":"query-migrate-${what}"}'`);
      const { return: has } = JSON.parse(ask("capabilities")) as { return: { capability: string; state: boolean }[] };
      const { return: params } = JSON.parse(ask("parameters")) as { return: Record<string, unknown> };
      const isMany = has.find(({ capability }) => capability === "multifd")?.state === true;
      expect(isMany ? params["multifd-channels"] : null).toBe(channels);
      slow.end();
      await move.untilOver();
      expect(move.end).toEqual({ as: "SUCCEEDED" });
    } finally {
      slow.end();
    }
    await bed.expectWhole(guest);
    await bed.expectNotAt(here(), guest);
  }
  for (const { session } of bed.places) session.migrationConnections = 1;
  await zoneSays("tls");
});

/** As VStation does when it is started with another configuration. */
async function zoneSays(transport: "tls" | "plain"): Promise<void> {
  for (const { session } of bed.places) session.migrationTransport = transport;
  const { hellos } = here().session;
  bed.vstation.disconnect();
  await until("the host to be back", () => here().session.hellos > hellos, patience);
  const told = transport === "tls" ? "ok" : "warning";
  for (const { session } of bed.places) {
    await until(`${transport} to be told`, () => session.check("migration") === told, patience);
  }
}

test.each(["source", "target"] as const)(
  "the %s's certificate is another host's: refused, untouched",
  async (which) => {
    const guest = await bed.boot(here());
    const [bad, good] = which === "source" ? [here(), there()] : [there(), here()];
    const files = join(bad.host.dir, "etc/tls");
    const own = mkdtempSync(join(tmpdir(), "vstation-tls-"));
    cpSync(files, own, { recursive: true });
    cpSync(join(good.host.dir, "etc/tls"), files, { recursive: true });
    try {
      const move = bed.move(guest, there());
      await move.untilOver();
      expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationNotTrusted" });
      expect(JSON.stringify(move.end)).toContain("another host's");
    } finally {
      cpSync(own, files, { recursive: true });
      rmSync(own, { recursive: true });
    }
    await bed.expectWhole(guest);
    await bed.expectNotAt(there(), guest);
  },
);

test("a certificate that ends while VStation gives no other: refused, untouched; and it moves once there is one", async () => {
  const guest = await bed.boot(here());
  const { host, session } = there();
  const { certificateMs } = bed.vstation;
  // Of another key, as one that begins anew would have.
  host.sh("rm /etc/libvirt/tls/*");
  await host.killCompute();
  // Long enough for all of its files to be written, and told of.
  bed.vstation.certificateMs = 30_000;
  session.hello = null;
  host.startCompute();
  try {
    await until("a short certificate", () => session.check("migration") === "ok", patience);
    bed.vstation.certifies = false;
    await until("its end", () => session.check("migration") === "warning", patience);
    const move = bed.move(guest, there());
    await move.untilOver();
    expect(move.end).toMatchObject({ as: "FAILED", code: "MigrationNotTrusted" });
    expect(JSON.stringify(move.end)).toContain("has ended");
    await bed.expectWhole(guest);
  } finally {
    bed.vstation.certificateMs = certificateMs;
    bed.vstation.certifies = true;
  }
  await until("another one", () => session.check("migration") === "ok", patience);
  const second = bed.move(guest, there());
  await second.untilOver();
  expect(second.end).toEqual({ as: "SUCCEEDED" });
  await bed.expectWhole(guest);
});

test("Compute dies between QEMU's files: a new one makes them whole, of one key", async () => {
  const { host } = here();
  host.sh("rm /etc/libvirt/tls/*");
  const count = (): number => Number(host.sh("ls /etc/libvirt/tls | wc -l"));
  await dyingAt(here(), "migration.certificate.client-written", () =>
    until("all files to be there", () => count() === 5, patience),
  );
  host.sh("cmp /etc/libvirt/tls/server-key.pem /etc/libvirt/tls/client-key.pem");
  expect(host.sh("stat -c %a /etc/libvirt/tls/*").trim().split("\n")).toEqual(Array.from({ length: 5 }, () => "600"));
});
