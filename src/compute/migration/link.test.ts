/** The connection between two Computes, over real TLS on loopback: who is let in, what is said, and how its end is noticed. */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect, type Server, type Socket, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { newId, type HostId } from "../../lib/ids.ts";
import { createLog } from "../../lib/log.ts";
import type { Identity } from "../link/identity.ts";
import { PeerLink } from "./dial.ts";
import { PeerListener } from "./listen.ts";
import { wrongIn, type TlsFiles } from "./qemu-certificate.ts";
import { refusalIn, refused, type PeerAsk } from "./wire.ts";

const log = createLog("test", { part: "migration-link" });
const migration = newId("migration");
const silenceMs = 6_000;
const [source, target, stranger] = [newId("host"), newId("host"), newId("host")];
const dir = mkdtempSync(join(tmpdir(), "vstation-link-"));
const identities = new Map<HostId, Identity>();

function openssl(...args: string[]): void {
  execFileSync("openssl", args, { cwd: dir, stdio: "ignore" });
}

/** As VStation gives one out. */
function identityOf(hostId: HostId, ca: string): Identity {
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${hostId}.key`];
  openssl("req", "-subj", `/CN=${hostId}`, ...key, "-out", "request");
  writeFileSync(join(dir, "ext"), `subjectAltName=DNS:${hostId}\nextendedKeyUsage=clientAuth,serverAuth\n`);
  const signer = ["-CA", `${ca}.crt`, "-CAkey", `${ca}.key`, "-CAcreateserial", "-days", "2", "-extfile", "ext"];
  openssl("x509", "-req", "-in", "request", "-out", `${hostId}.crt`, ...signer);
  const read = (name: string): string => readFileSync(join(dir, name), "utf8");
  return { hostId, key: read(`${hostId}.key`), certificate: read(`${hostId}.crt`), ca: read(`${ca}.crt`) };
}

let listener: PeerListener | undefined;
let relay: Server | undefined;
const relayed: Socket[] = [];

async function listen(serve: (ask: PeerAsk, caller: symbol) => Promise<unknown>, left = () => {}): Promise<number> {
  const identity = (): Identity | undefined => identities.get(target);
  listener = await PeerListener.begin({
    ...{ address: "127.0.0.1", migration, silenceMs, source, identity, serve, left, log },
  });
  return listener.port;
}

const dial = (port: number, as: HostId = source, to: HostId = target): Promise<PeerLink> =>
  PeerLink.dial({ hostId: to, address: "127.0.0.1", port }, { migration, silenceMs }, identities.get(as)!);

describe.skipIf(!existsSync("/usr/bin/openssl"))("the connection of a migration", () => {
  beforeAll(() => {
    for (const ca of ["ca", "other"]) {
      const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", `${ca}.key`];
      openssl("req", "-x509", "-days", "2", "-subj", `/CN=${ca}`, ...key, "-out", `${ca}.crt`);
    }
    for (const id of [source, target, stranger]) identities.set(id, identityOf(id, "ca"));
  });
  afterEach(() => {
    listener?.close();
    relay?.close();
    for (const socket of relayed.splice(0)) socket.destroy();
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  test("carries questions and answers, and a refusal with its reason", async () => {
    const port = await listen((ask) =>
      ask.is === "describe"
        ? Promise.resolve({ xml: "<domain/>" })
        : Promise.reject(refused({ reason: "target_refused", message: "no room" })),
    );
    const link = await dial(port);
    expect(await link.ask({ is: "describe", postcopy: false }, 5_000)).toEqual({ xml: "<domain/>" });
    const refusal = await link.ask({ is: "finish", cookie: "" }, 5_000).catch(refusalIn);
    expect(refusal).toEqual({ reason: "target_refused", message: "no room" });
    link.close();
  });

  test("is for the source alone, and to the target alone", async () => {
    let served = 0;
    const port = await listen(() => Promise.resolve(++served));
    const asks = async (link: PeerLink): Promise<unknown> => await link.ask({ is: "describe", postcopy: false }, 5_000);
    await expect(dial(port, stranger).then(asks)).rejects.toMatchObject({ code: "MigrationLinkLost" });
    await expect(dial(port, source, stranger)).rejects.toMatchObject({ code: "MigrationNotTrusted" });
    identities.set(stranger, { ...identityOf(source, "other"), ca: identities.get(source)!.ca });
    await expect(dial(port, stranger).then(asks)).rejects.toMatchObject({ code: "MigrationLinkLost" });
    expect(served).toBe(0);
  });

  test("is not tried with what the other host, or QEMU, would not take", () => {
    const own = identities.get(source)!;
    const day = 86_400_000;
    const wrong = (files: Partial<TlsFiles>, days = 0) => wrongIn({ ...own, ...files }, own, Date.now() + days * day);
    expect(wrong({})).toBeNull();
    const found = [
      wrong({ key: undefined }),
      wrong(identities.get(target)!),
      wrong({ ca: identityOf(newId("host"), "other").ca }),
      wrong({ certificate: identityOf(source, "other").certificate }),
      wrong({ certificate: identityOf(source, "ca").certificate, key: identities.get(target)!.key }),
      wrong({ certificate: "damaged" }),
      wrong({}, 3),
      wrong({}, -1),
    ];
    const words = ["no certificate yet", "another host's", "another CA", "not of its key", "not of its key"];
    expect(
      found.map((each, i) => each?.includes([...words, "cannot be read", "has ended", "good from"][i] ?? "?")),
    ).toEqual(found.map(() => true));
  });

  test("is about one migration: a port that was another one's before serves nothing", async () => {
    const port = await listen(() => Promise.resolve({ xml: "" }));
    const peer = { hostId: target, address: "127.0.0.1", port };
    const link = await PeerLink.dial(peer, { migration: newId("migration"), silenceMs }, identities.get(source)!);
    await expect(link.ask({ is: "describe", postcopy: false }, 5_000)).rejects.toMatchObject({
      code: "MigrationLinkLost",
    });
  });

  test("that is cut without a word is over at both ends soon", async () => {
    const left = Promise.withResolvers<void>();
    const port = await listen(
      (ask) => (ask.is === "describe" ? Promise.resolve({ xml: "" }) : new Promise(() => {})),
      () => left.resolve(),
    );
    let cut = false;
    relay = createServer((near) => {
      const far = connect(port, "127.0.0.1");
      relayed.push(near, far);
      near.on("data", (bytes) => cut || far.write(bytes));
      far.on("data", (bytes) => cut || near.write(bytes));
    });
    await new Promise<void>((done) => relay?.listen(0, "127.0.0.1", done));
    const link = await dial((relay.address() as AddressInfo).port);
    // The handshake is over at both ends.
    await link.ask({ is: "describe", postcopy: false }, 5_000);
    const asking = link.ask({ is: "word", released: false }, 60_000);
    cut = true;
    await expect(asking).rejects.toMatchObject({ code: "MigrationLinkLost" });
    await left.promise;
  });
});
