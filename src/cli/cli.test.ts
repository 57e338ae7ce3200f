import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { failure } from "../core/failure-codes.ts";
import { fakeToken, type FakeCloud } from "../vstation/native/cloud.fake.ts";
import { fakeImage } from "../vstation/native/images.fake.ts";
import { served, type Served } from "../vstation/native/served.fake.ts";
import { cliDocument } from "./docs.ts";
import type { Io } from "./io.ts";
import { Person, type Run } from "./person.fake.ts";

// The real handler over HTTP, a cloud in memory behind it: these tests show what is printed and which code comes out.
let person: Person;
let api: Served;
let cloud: FakeCloud;
let home: string;

beforeEach(async () => {
  api = await served();
  cloud = api.cloud;
  person = new Person(api.endpoint, fakeToken);
  home = person.home;
});
afterEach(async () => {
  await api[Symbol.asyncDispose]();
  person.leave();
});

const cli = (line: string, change: Partial<Io> = {}): Promise<Run> => person.cli(line, change);

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

describe("exit codes", () => {
  const codeOf = async (line: string): Promise<number> => (await cli(line)).code;

  it("come with one line of JSON for programs, also for a mistake in the command line", async () => {
    const { code, err } = await cli("--json instance run --count abc");
    expect(code).toBe(2);
    expect(JSON.parse(err)).toMatchObject({ error: { kind: "invalid", code: "Usage" } });
    expect((await cli("instance run --count abc")).err).toContain("--help shows how");
  });

  it("tell how it ended", async () => {
    expect(await codeOf("instance list")).toBe(0);
    expect(await codeOf("--help")).toBe(0);
    expect(await codeOf("--version")).toBe(0);
    expect(await codeOf("instance lst")).toBe(2);
    expect(await codeOf("instance list --state NOWHERE")).toBe(2);
    expect(await codeOf("instance run --count 0")).toBe(2);
    expect(await codeOf("instance run --type T9.HUGE")).toBe(2);
    expect(await codeOf("instance stop a --soft --hard")).toBe(2);
    expect(await codeOf("operation show nonsense")).toBe(2);
    expect(await codeOf("instance show nobody")).toBe(3);
    expect(await codeOf("instance show ins-zzzzzzzz")).toBe(3);
    expect(await codeOf("key delete nobody --yes")).toBe(3);
  });

  it("come with what is wrong in the command line", async () => {
    const mistakes = {
      "audit list --since yesterday": "neither an age such as 30m nor a time",
      "account set-quota default instances": "write QUOTA=LIMIT",
      "account set-quota default instances=9999999999": "LIMIT is 0 to 999999999",
      "account set-quota default instanzes=5": "it is one of instances, vcpus, memoryGiB",
      "instance run --data 10:slow": "it is one of LOCAL_BASIC",
      "instance run --data 10:CLOUD_SSD:x": "write GiB or GiB:TYPE",
      "instance list --state lost": "it is one of PENDING",
      "host add Host_1": "body.name: lower-case letters, digits and inner hyphens",
    };
    for (const [line, says] of Object.entries(mistakes)) {
      expect(await cli(line)).toMatchObject({ code: 2, out: "", err: expect.stringContaining(says) as string });
    }
    expect((await cli("account set-quota default instances=5 disks=default")).out).toMatch(/instances +0 +5 +own/);
  });

  it("follow the kind of the failure", async () => {
    const cases = {
      WrongState: 4,
      InsufficientCapacity: 4,
      QuotaExceeded: 4,
      HostUnreachable: 5,
      Internal: 1,
    } as const;
    for (const [code, exit] of Object.entries(cases)) {
      cloud.failNext = failure(code as keyof typeof cases, "no");
      const run = await cli("host list");
      expect(run.code).toBe(exit);
      expect(run.err).toContain(`error: no (${code})`);
      expect(run.out).toBe("");
    }
  });

  it("come with what to say, where the request alone stands in the way", async () => {
    await cli("instance run --name a");
    cloud.failNext = failure("MustStop", "it runs");
    const line = "instance resize a T1.MEDIUM2";
    expect((await cli(line)).err).toContain("`--stop` stops it for that");
    expect((await cli(`${line} --stop`)).code).toBe(0);
  });

  it("tell unreachable, wrong credentials and none from each other", async () => {
    person.writeCredentials("http://127.0.0.1:1/v1", fakeToken);
    const away = await cli("host list");
    expect(away.code).toBe(5);
    expect(away.err).toContain("npm start");
    person.writeCredentials(api.endpoint, "wrong");
    expect(await codeOf("host list")).toBe(7);
    writeFileSync(join(home, "credentials.json"), "{}");
    expect(await codeOf("host list")).toBe(7);
    rmSync(join(home, "credentials.json"));
    expect(await codeOf("host list")).toBe(7);
  });

  it("are those of the operation's end when it was waited for", async () => {
    cloud.endAtOnce = false;
    const running = cli("instance run --name a --wait");
    await until(() => cloud.allOperations.length === 1);
    const id = cloud.allOperations[0]?.id ?? ("" as never);
    cloud.step(id, "placed");
    await until(() => cloud.seen.filter(({ call }) => call === "operations.get").length > 1);
    cloud.end(id, { code: "StartFailed", message: "QEMU refused; see the host's log" });
    const run = await running;
    expect(run.code).toBe(1);
    expect(run.out).toContain("FAILED");
    expect(run.err).toContain("ins-00000001 run: placed\n");
    expect(run.err).toContain("instance.run failed: QEMU refused; see the host's log (StartFailed)");
  });

  it("are 6 when the wait is over and 130 when it is interrupted; both leave the operation alone", async () => {
    cloud.endAtOnce = false;
    const late = await cli("instance run --name a --wait --timeout 1");
    expect(late.code).toBe(6);
    expect(late.err).toContain("operation list");
    const interrupt = new AbortController();
    const running = cli("instance run --name b --wait", { signal: interrupt.signal });
    await until(() => cloud.seen.some(({ call }) => call === "operations.get"));
    interrupt.abort(new Error("SIGINT"));
    expect(await running).toMatchObject({ code: 130, err: expect.stringContaining("goes on") as string });
  });
});

describe("Ctrl-C", () => {
  it("ends a call that hangs", async () => {
    cloud.hosts.list = () => new Promise(() => undefined);
    const interrupt = new AbortController();
    const running = cli("host list", { signal: interrupt.signal });
    setTimeout(() => interrupt.abort(new Error("SIGINT")), 50);
    expect((await running).code).toBe(130);
  });
});

describe("for programs", () => {
  it("gives the API's own shapes, and errors as one line", async () => {
    const run = JSON.parse((await cli("instance run --name a --wait --json")).out) as Record<string, unknown[]>;
    expect(run).toMatchObject({ instanceIds: [expect.any(String)], operations: [{ state: "SUCCEEDED" }] });
    const list = JSON.parse((await cli("instance list --json")).out) as { total: number; instances: unknown[] };
    expect(list).toMatchObject({ total: 1, instances: [{ name: "a", hasUserData: false }] });
    const failed = await cli("instance show nobody --json");
    expect(failed.out).toBe("");
    expect(JSON.parse(failed.err)).toMatchObject({ error: { kind: "not_found", code: "InstanceNotFound" } });
    expect(JSON.parse((await cli("instance terminate a --json")).out)).toHaveProperty("operationIds");
  });

  it("says in every list how many there are", async () => {
    const lists = [...cliDocument().matchAll(/^### (.* list)$/gm)].map(([, path = ""]) => path);
    expect(lists).toContain("type list");
    for (const path of lists) {
      const { code, out } = await cli(`${path} ${path === "account key list" ? "default" : ""} --json`);
      expect({ path, code, total: typeof (JSON.parse(out) as { total?: unknown }).total }).toEqual({
        path,
        code: 0,
        total: "number",
      });
    }
  });

  it("shows no progress", async () => {
    expect((await cli("instance run --name a --wait --json")).err).toBe("");
  });
});

describe("for people at a terminal", () => {
  const atTerminal = { outIsTty: true, errIsTty: true, env: { TERM: "xterm" } };

  it("colours states, and only there", async () => {
    await cli("instance run --name a");
    expect((await cli("instance list", atTerminal)).out).toContain("\x1b[32mRUNNING");
    expect((await cli("instance list", { ...atTerminal, env: { NO_COLOR: "1" } })).out).not.toContain("\x1b");
    expect((await cli("instance list")).out).not.toContain("\x1b");
  });

  it("asks before what cannot be undone", async () => {
    await cli("instance run --name a");
    const asked: string[] = [];
    const saying = (answer: boolean): Partial<Io> => ({
      confirm: (question) => {
        asked.push(question);
        return Promise.resolve(answer);
      },
    });
    expect((await cli("instance terminate a", saying(false))).code).toBe(4);
    expect(cloud.allInstances).toHaveLength(1);
    expect(asked).toEqual(["Terminate ins-00000001? Their disks are deleted."]);
    expect((await cli("instance terminate a", saying(true))).code).toBe(0);
    expect(cloud.allInstances).toHaveLength(0);
  });

  it("rewrites one progress line", async () => {
    const run = await cli("instance run --name a --wait", atTerminal);
    expect(run.err).toContain("\r\x1b[Kins-00000001 run: done (0 s)");
    expect(run.err.endsWith("\r\x1b[K")).toBe(true);
  });

  it("shows what needs attention, and that a state is old", async () => {
    await cli("instance run --name a");
    Object.assign(cloud.allInstances[0] ?? {}, { stale: true, attention: "paused: the disk is full; free some space" });
    const { out } = await cli("instance list");
    expect(out).toContain("RUNNING?");
    expect(out).toContain("ins-00000001: paused: the disk is full; free some space\n");
  });

  it("shows a guest's log without what would steer the terminal, but through a pipe as it is", async () => {
    await cli("instance run --name a");
    cloud.consoleData = Buffer.from("\x1b[2Jboot\x07\r\nok\n");
    expect((await cli("instance log a", atTerminal)).out).toBe("boot\nok\n");
    expect((await cli("instance log a")).out).toBe("\x1b[2Jboot\x07\r\nok\n");
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
    const key = join(home, "k.pem");
    expect((await cli(`key create k --out ${key}`)).code).toBe(0);
    expect(readFileSync(key, "utf8")).toBe("PRIVATE");
    expect(statSync(key).mode & 0o777).toBe(0o600);
    expect((await cli(`key create other --out ${key}`)).code).toBe(2);
    // Before the key is made: its private half could be put nowhere.
    expect((await cli(`key create other --out ${join(home, "nowhere/k.pem")}`)).code).toBe(2);
    expect(cloud.allKeys).toHaveLength(1);
    await cli("group create g");
    expect((await cli("instance run --key k --group g --image tiny --tag a=b=c --protect")).code).toBe(0);
    expect(cloud.seen.findLast(({ call }) => call === "instances.run")?.args[1]).toMatchObject({
      keyIds: [cloud.allKeys[0]?.id],
      groupId: cloud.allGroups[0]?.id,
      tags: { a: "b=c" },
      terminationProtection: true,
    });
    expect((await cli("instance list --host host1 --image tiny")).code).toBe(0);
    expect((await cli("key delete k --yes")).code).toBe(0);
  });
});

describe("asking again", () => {
  it("resends a run whose answer was lost, with the same token, once", async () => {
    cloud.failNext = failure("DeadlineExceeded", "late");
    expect((await cli("instance run --image tiny")).code).toBe(6);
    cloud.failNext = undefined;
    const tokens: unknown[] = [];
    const real = cloud.instances.run.bind(cloud.instances);
    cloud.instances.run = async (caller, request) => {
      tokens.push(request.clientToken);
      if (tokens.length === 1) throw failure("DeadlineExceeded", "late");
      return await real(caller, request);
    };
    expect((await cli("instance run")).code).toBe(0);
    expect(tokens[0]).toBe(tokens[1]);
    expect(tokens).toHaveLength(2);
  });
});

describe("an image's file", () => {
  it("is looked at before an image is made of it", async () => {
    expect((await cli(`image import ${home} --format raw`)).err).toContain("is no file");
    expect((await cli("image import /dev/zero --format raw")).err).toContain("is no file");
    expect((await cli("image import ftp://example.org/a.raw --format raw")).err).toContain("a URL is http or https");
    expect(cloud.seen.filter(({ call }) => call.startsWith("images."))).toEqual([]);
  });

  it("is sent once, also when the answer to its last part is lost", async () => {
    let parts = 0;
    cloud.images.receive = async (_caller, _id, _offset, content) => {
      for await (const part of content) parts += part.byteLength > 0 ? 1 : 0;
      throw failure("DeadlineExceeded", "late");
    };
    const file = join(home, "disk.raw");
    writeFileSync(file, "a disk");
    expect(await cli(`image import ${file} --format raw --wait`)).toMatchObject({ code: 0, out: `${fakeImage}\n` });
    expect(parts).toBe(1);
  });
});

describe("doctor", () => {
  it("finds a home well, and what is wrong with one", async () => {
    const well = await cli("doctor --json");
    const { ok, findings } = JSON.parse(well.out) as { ok: boolean; findings: { check: string; level: string }[] };
    expect(findings.filter(({ level }) => level === "error")).toEqual([]);
    expect(ok).toBe(true);
    expect(well.code).toBe(0);
    expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(["vstation", "host host1", "disk"]));
    person.writeCredentials("http://127.0.0.1:1", fakeToken);
    const ill = await cli("doctor");
    expect(ill.code).toBe(1);
    expect(ill.out).toMatch(/ERROR +vstation +EndpointUnreachable/);
    expect(ill.out).toContain("next: start it (`npm start");
  });

  it("writes a bundle once", async () => {
    const file = join(home, "b.tar.gz");
    expect((await cli(`doctor --bundle ${file}`)).code).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await cli(`doctor --bundle ${file}`)).code).toBe(2);
  });
});

async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setTimeout(resolve, 2));
}

describe("disks and snapshots", () => {
  it("are made, put in, grown, limited, copied, put back and deleted", async () => {
    const instance = (await cli("instance run --name web --json")).out.match(/ins-\w+/)?.[0] ?? "";
    expect(await cli("disk create data --size 20 --mbps 100 --wait")).toMatchObject({
      code: 0,
      out: "disk-00000001\n",
    });
    expect(cloud.disks.all[0]).toMatchObject({ sizeGiB: 20, limits: { bytes: 100_000_000, iops: null } });
    expect((await cli("disk attach data --to web --wait")).out).toBe("disk-00000001: ATTACHED\n");
    expect((await cli("disk attach data --to web")).out).toBe(`disk-00000001: being attached to ${instance}\n`);
    await cli("disk resize data 40 --wait");
    await cli("disk set data --iops 500");
    await cli("disk set data --mbps 0");
    expect(cloud.disks.all[0]).toMatchObject({ sizeGiB: 40, limits: { bytes: null, iops: 500 } });
    expect((await cli("disk list")).out).toMatchInlineSnapshot(`
      "ID             NAME  USAGE  TYPE         ON      GiB  STATE     INSTANCE      AGE
      disk-00000001  data  data   CLOUD_BASIC  shared   40  ATTACHED  ins-00000001  5m
      "
    `);
    expect((await cli("snapshot create data --name before --wait")).out).toBe("snap-00000001\n");
    expect((await cli("snapshot list")).out).toMatchInlineSnapshot(`
      "ID             NAME    DISK           GiB  STATE   TAKES MiB  AGE
      snap-00000001  before  disk-00000001   10  NORMAL          1  5m
      "
    `);
    expect((await cli("snapshot apply before --to data --yes --wait")).code).toBe(0);
    expect((await cli("disk detach data --wait")).out).toBe("disk-00000001: UNATTACHED\n");
    expect((await cli("snapshot delete before --yes")).out).toBe("deleted snap-00000001\n");
    expect((await cli("disk delete data --yes")).out).toBe("deleted disk-00000001\n");
  });

  it("say what did not come about, with the exit code of a failure", async () => {
    await cli("disk create data --size 20");
    const [disk] = cloud.disks.all;
    if (disk === undefined) throw new Error("no disk");
    cloud.disks.detach = async () => void (disk.problem = "the guest did not let go of it in time");
    disk.instanceId = "ins-00000001" as never;
    disk.state = "ATTACHED";
    const failed = await cli("disk detach data --wait");
    expect(failed.code).toBe(1);
    expect(failed.err).toContain("did not let go");
    expect(await cli("disk create empty")).toMatchObject({ code: 2 });
    expect(await cli("disk delete nothing --yes")).toMatchObject({ code: 3 });
  });
});
