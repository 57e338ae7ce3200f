import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Registry } from "prom-client";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLog } from "../lib/log.ts";
import { FakeCloud, fakeAccount, fakeToken } from "../vstation/native/cloud.fake.ts";
import { createNativeHandler } from "../vstation/native/handler.ts";
import type { Io } from "./io.ts";
import { runCli } from "./program.ts";

// The real handler over HTTP, a cloud in memory behind it: these tests show what is printed and which code comes out.
let cloud: FakeCloud;
let server: Server;
let closing: AbortController;
let home: string;

beforeEach(async () => {
  cloud = new FakeCloud();
  closing = new AbortController();
  const log = createLog("test");
  log.level = "silent";
  server = createServer(
    createNativeHandler(cloud, { log, metrics: new Registry(), account: fakeAccount, closing: closing.signal }),
  );
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  home = mkdtempSync(join(tmpdir(), "vstation-cli-"));
  const nativeEndpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  writeFileSync(
    join(home, "credentials.json"),
    JSON.stringify({ nativeEndpoint, nativeToken: fakeToken, region: "local" }),
  );
});

afterEach(async () => {
  closing.abort();
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  rmSync(home, { recursive: true });
});

interface Run {
  code: number;
  out: string;
  err: string;
}

async function cli(line: string, change: Partial<Io> = {}): Promise<Run> {
  const run: Run = { code: -1, out: "", err: "" };
  const io: Io = {
    out: (text) => void (run.out += text),
    err: (text) => void (run.err += text),
    outIsTty: false,
    errIsTty: false,
    stdin: process.stdin,
    stdout: process.stdout,
    env: {},
    signal: new AbortController().signal,
    now: () => Date.parse("2026-01-02T03:09:06Z"),
    confirm: () => Promise.resolve(undefined),
    ...change,
  };
  run.code = await runCli(["--home", home, ...line.split(" ").filter((word) => word !== "")], io);
  return run;
}

describe("instances", () => {
  it("run, list, show, stop, terminate", async () => {
    const run = await cli("instance run --count 2 --name web --wait");
    expect(run).toMatchInlineSnapshot(`
      {
        "code": 0,
        "err": "ins-00000001 run: accepted
      ins-00000001 run: done
      ins-00000002 run: accepted
      ins-00000002 run: done
      ",
        "out": "INSTANCE      OPERATION    STATE
      ins-00000001  op-00000003  SUCCEEDED
      ins-00000002  op-00000004  SUCCEEDED
      ",
      }
    `);
    expect((await cli("instance list")).out).toMatchInlineSnapshot(`
      "ID            NAME  STATE    TYPE       ADDRESS      HOST   AGE
      ins-00000001  web1  RUNNING  T1.SMALL1  10.128.0.10  host1  5m
      ins-00000002  web2  RUNNING  T1.SMALL1  10.128.0.11  host1  5m
      "
    `);
    expect((await cli("instance show web1")).out).toMatchInlineSnapshot(`
      "id              ins-00000001
      name            web1
      state           RUNNING
      attention       -
      type            T1.SMALL1 (1 vCPUs, 1024 MiB)
      image           img-aaaaaaa1
      address         10.128.0.10
      mac             02:76:73:00:02:01
      host            host-aaaaaaa1
      zone            local-1
      subnet          subnet-00000001 in vpc-00000001
      system disk     disk-00000001, 10 GiB
      keys            -
      group           -
      user data       no
      restart policy  always
      protected       no
      tags            -
      created         2026-01-02T03:04:05.000Z
      incarnation     1, epoch 1, generation 1
      uuid            11111111-2222-4333-8444-555555555555
      account         acct-00000001

      instance.run op-00000003: SUCCEEDED
        +    0.000 s  accepted
        +    0.000 s  done
      "
    `);
    expect(await cli("instance stop web1 web2 --wait")).toMatchInlineSnapshot(`
      {
        "code": 0,
        "err": "ins-00000001 stop: accepted
      ins-00000001 stop: done
      ins-00000002 stop: accepted
      ins-00000002 stop: done
      ",
        "out": "INSTANCE      OPERATION    STATE
      ins-00000001  op-00000005  SUCCEEDED
      ins-00000002  op-00000006  SUCCEEDED
      ",
      }
    `);
    expect(await cli("instance terminate web1 --yes")).toMatchObject({ code: 0 });
    expect((await cli("instance list --json")).out).toContain('"total": 1');
  });
});

describe("hosts, operations, catalogue", () => {
  it("are listed and shown", async () => {
    await cli("instance run --name a");
    expect((await cli("host list")).out).toMatchInlineSnapshot(`
      "ID             NAME   STATE  ACCEL  INSTANCES  VCPUS  MEMORY MiB  DISK GiB  SEEN
      host-aaaaaaa1  host1  ready  tcg            0  0/16   0/8192      0/100     5m ago
      "
    `);
    expect((await cli("host show host1")).out).toMatchInlineSnapshot(`
      "id           host-aaaaaaa1
      name         host1
      state        ready
      hostname     host1
      underlay     10.96.0.11
      accelerator  tcg
      cpu          QEMU TCG: 1 x 4 x 1 at 2445 MHz
      vcpus        0 of 16 (4 cores x 4)
      memory       0 of 8192 MiB (8192 MiB x 1)
      disk         0 of 100 GiB
      instances    0
      numa nodes   1
      compute      0.1.0
      libvirt      11.3.0
      qemu         10.0.2
      kernel       6.12.0
      node         24.21.0
      seen         2026-01-02T03:04:05.000Z
      joined       2026-01-02T03:04:05.000Z

      readiness
        ok       libvirt      11.3.0 answers
        warning  accelerator  no KVM: guests are emulated; use a host with /dev/kvm
      "
    `);
    expect((await cli("operation list")).out).toMatchInlineSnapshot(`
      "ID           KIND          INSTANCE      STATE      STEP  AGE  REASON
      op-00000002  instance.run  ins-00000001  SUCCEEDED  done  5m   -
      "
    `);
    expect((await cli("image list")).out).toMatchInlineSnapshot(`
      "ID            NAME  SYSTEM            BOOT    DISK GiB  MEMORY MiB
      img-aaaaaaa1  tiny  Debian 12 (tiny)  direct         1          64
      "
    `);
  });
});
