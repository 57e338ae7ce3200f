/** Instances and what they are made of: what is printed of them, by which names they go, and a run that is asked for again. */
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failure } from "../core/failure-codes.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

describe("instances", () => {
  it("run, list, show, stop, terminate", async () => {
    const run = await cli("instance run --count 2 --name web --wait");
    expect(run).toMatchInlineSnapshot(`
      {
        "code": 0,
        "err": "ins-00000001 run: accepted
      ins-00000001 run: done
      ins-00000001 run: done after 0 s
      ins-00000002 run: accepted
      ins-00000002 run: done
      ins-00000002 run: done after 0 s
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
      "id               ins-00000001
      name             web1
      state            RUNNING
      attention        -
      type             T1.SMALL1 (1 vCPUs, 1024 MiB)
      image            img-aaaaaaa1
      address          10.128.0.10
      mac              02:76:73:00:02:01
      host             host-aaaaaaa1
      zone             local-1
      subnet           subnet-00000001 in vpc-00000001
      security groups  -
      outside          -
      system disk      disk-00000001, 10 GiB
      keys             -
      group            -
      user data        no
      restart policy   always
      protected        no
      tags             -
      created          2026-01-02T03:04:05.000Z
      incarnation      1, epoch 1, generation 1
      uuid             11111111-2222-4333-8444-555555555555
      account          acct-00000001

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
      ins-00000001 stop: done after 0 s
      ins-00000002 stop: accepted
      ins-00000002 stop: done
      ins-00000002 stop: done after 0 s
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
      drain        -
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
      "ID            NAME  STATE   SYSTEM            BOOT    DISK GiB  MEMORY MiB  AGE
      img-aaaaaaa1  tiny  NORMAL  Debian 12 (tiny)  direct         1          64  5m
      "
    `);
  });
});

describe("names", () => {
  it("stand for ids while only one has them", async () => {
    await cli("instance run --name twin");
    await cli("instance run --name twin");
    const run = await cli("instance stop twin");
    expect(run.code).toBe(4);
    expect(run.err).toContain("ins-00000001, ins-00000003");
    expect((await cli("instance stop ins-00000001")).code).toBe(0);
  });

  it("work for keys, groups, images and hosts", async () => {
    const key = join(here.home, "k.pem");
    expect((await cli(`key create k --out ${key}`)).code).toBe(0);
    expect(readFileSync(key, "utf8")).toBe("PRIVATE");
    expect(statSync(key).mode & 0o777).toBe(0o600);
    expect((await cli(`key create other --out ${key}`)).code).toBe(2);
    // Before the key is made: its private half could be put nowhere.
    expect((await cli(`key create other --out ${join(here.home, "nowhere/k.pem")}`)).code).toBe(2);
    expect(here.cloud.allKeys).toHaveLength(1);
    await cli("group create g");
    expect((await cli("instance run --key k --group g --image tiny --tag a=b=c --protect")).code).toBe(0);
    expect(here.cloud.seen.findLast(({ call }) => call === "instances.run")?.args[1]).toMatchObject({
      keyIds: [here.cloud.allKeys[0]?.id],
      groupId: here.cloud.allGroups[0]?.id,
      tags: { a: "b=c" },
      terminationProtection: true,
    });
    expect((await cli("instance list --host host1 --image tiny")).code).toBe(0);
    expect((await cli("key delete k --yes")).code).toBe(0);
  });
});

describe("asking again", () => {
  it("resends a run whose answer was lost, with the same token, once", async () => {
    here.cloud.failNext = failure("DeadlineExceeded", "late");
    expect((await cli("instance run --image tiny")).code).toBe(6);
    here.cloud.failNext = undefined;
    const tokens: unknown[] = [];
    const real = here.cloud.instances.run.bind(here.cloud.instances);
    here.cloud.instances.run = async (caller, request) => {
      tokens.push(request.clientToken);
      if (tokens.length === 1) throw failure("DeadlineExceeded", "late");
      return await real(caller, request);
    };
    expect((await cli("instance run")).code).toBe(0);
    expect(tokens[0]).toBe(tokens[1]);
    expect(tokens).toHaveLength(2);
  });
});
