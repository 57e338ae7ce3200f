/** Which exit code comes out, and with which words. */
import { rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failure } from "../core/failure-codes.ts";
import { fakeToken } from "../vstation/native/cloud.fake.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

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
      here.cloud.failNext = failure(code as keyof typeof cases, "no");
      const run = await cli("host list");
      expect(run.code).toBe(exit);
      expect(run.err).toContain(`error: no (${code})`);
      expect(run.out).toBe("");
    }
  });

  it("come with what to say, where the request alone stands in the way", async () => {
    await cli("instance run --name a");
    here.cloud.failNext = failure("MustStop", "it runs");
    const line = "instance resize a T1.MEDIUM2";
    expect((await cli(line)).err).toContain("`--stop` stops it for that");
    expect((await cli(`${line} --stop`)).code).toBe(0);
  });

  it("tell unreachable, wrong credentials and none from each other", async () => {
    here.person.writeCredentials("http://127.0.0.1:1/v1", fakeToken);
    const away = await cli("host list");
    expect(away.code).toBe(5);
    expect(away.err).toContain("npm start");
    here.person.writeCredentials(here.api.endpoint, "wrong");
    expect(await codeOf("host list")).toBe(7);
    writeFileSync(join(here.home, "credentials.json"), "{}");
    expect(await codeOf("host list")).toBe(7);
    rmSync(join(here.home, "credentials.json"));
    expect(await codeOf("host list")).toBe(7);
  });

  it("are those of the operation's end when it was waited for", async () => {
    here.cloud.endAtOnce = false;
    const running = cli("instance run --name a --wait");
    await until(() => here.cloud.allOperations.length === 1);
    const id = here.cloud.allOperations[0]?.id ?? ("" as never);
    here.cloud.step(id, "placed");
    await until(() => here.cloud.seen.filter(({ call }) => call === "operations.get").length > 1);
    here.cloud.end(id, { code: "StartFailed", message: "QEMU refused; see the host's log" });
    const run = await running;
    expect(run.code).toBe(1);
    expect(run.out).toContain("FAILED");
    expect(run.err).toContain("ins-00000001 run: placed\n");
    expect(run.err).toContain("instance.run failed: QEMU refused; see the host's log (StartFailed)");
  });

  it("are 6 when the wait is over and 130 when it is interrupted; both leave the operation alone", async () => {
    here.cloud.endAtOnce = false;
    const late = await cli("instance run --name a --wait --timeout 1");
    expect(late.code).toBe(6);
    expect(late.err).toContain("operation list");
    const interrupt = new AbortController();
    const running = cli("instance run --name b --wait", { signal: interrupt.signal });
    await until(() => here.cloud.seen.some(({ call }) => call === "operations.get"));
    interrupt.abort(new Error("SIGINT"));
    expect(await running).toMatchObject({ code: 130, err: expect.stringContaining("goes on") as string });
  });
});

describe("Ctrl-C", () => {
  it("ends a call that hangs", async () => {
    here.cloud.hosts.list = () => new Promise(() => undefined);
    const interrupt = new AbortController();
    const running = cli("host list", { signal: interrupt.signal });
    setTimeout(() => interrupt.abort(new Error("SIGINT")), 50);
    expect((await running).code).toBe(130);
  });
});

async function until(level: () => boolean): Promise<void> {
  while (!level()) await new Promise((resolve) => setTimeout(resolve, 2));
}
