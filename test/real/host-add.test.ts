/**
 * A second real machine: `host add` prints a line, the line makes a machine a host that has nothing of VStation but a link to it,
 * and `host remove` takes all of it away again. The machine's packages come from Debian, everything else over that link.
 */
import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ProbeClient } from "../../guest/probe-client.ts";
import { TestLab } from "../../lab/testing.ts";
import { NativeClient } from "../../src/api/native/client.ts";
import { until } from "../until.ts";
import { Machine, traces } from "./support/machine.ts";

const program = join(import.meta.dirname, "../../vstation");
const patienceMs = 120_000;
const lab = new TestLab();
let native: NativeClient;
let machine: Machine;
let other: Machine;

beforeAll(async () => {
  await lab.start({ hosts: 0 });
  const { nativeEndpoint, nativeToken } = lab.credentials;
  native = new NativeClient({ endpoint: nativeEndpoint, token: nativeToken });
  machine = await Machine.start(lab, "machine-a", 20);
  other = await Machine.start(lab, "machine-b", 21);
});
afterAll(async () => {
  await machine?.destroy();
  await other?.destroy();
  await lab.destroy();
});

async function vstation(...args: string[]): Promise<string> {
  const { stdout } = await promisify(execFile)(program, ["--home", lab.home.path, ...args]);
  return stdout;
}

async function lineFor(name: string, ...flags: string[]): Promise<string> {
  const said = JSON.parse(await vstation("--json", "host", "add", name, ...flags)) as { line: string };
  return said.line;
}

async function hosts() {
  return (await native.call("hostList", { query: {} })).hosts;
}

describe("a machine", () => {
  let line: string;

  it("refuses what it cannot be sure of", async () => {
    line = await lineFor("machine-a");
    // Another CA than the one in the line: not even the installer is taken from there.
    const wrong = line.replace(/b=MII[^;]+/, (text) => `${text.slice(0, 60)}${text.slice(61)}`);
    expect((await machine.run(wrong)).code).not.toBe(0);
    const guessed = line.replace(/--token \w+/, `--token ${"0".repeat(48)}`);
    const { code, text } = await machine.run(guessed);
    expect(text).toContain("no server gives its programs");
    expect(code).not.toBe(0);
    expect(await hosts()).toEqual([]);
  });

  it("is installed by one line, begun again after a kill in the middle", async () => {
    // Whatever it is doing after so long: downloading, unpacking, or asking apt.
    await machine.run(`cat > /line <<'END'\n${line}\nEND\ntimeout -s KILL 2.5 sh /line`);
    const { code, text } = await machine.run(line);
    expect(text).toMatch(/TCG, many times slower[^]*This machine is a host/);
    expect(code).toBe(0);
    // Nothing of ours is in the machine but what came by the link.
    expect((await machine.run(`ls -A ${join(import.meta.dirname, "../..")} ${lab.home.path}`)).text).not.toContain(
      "src",
    );
    expect(
      (await machine.run("stat -c %a /etc/vstation /etc/vstation/join-token /etc/vstation/compute.json")).text,
    ).toBe("700\n600\n600\n");
  });

  it("is a host by then, with a key that it made itself", async () => {
    await until("the host to be ready", async () => (await hosts())[0]?.state === "ready", patienceMs);
    const [host] = await hosts();
    expect(host).toMatchObject({
      name: "machine-a",
      state: "ready",
      underlayAddress: machine.address,
      cordoned: false,
    });
    expect((await machine.run("stat -c %a /var/lib/vstation/identity/host.key")).text).toBe("600\n");
    expect((await machine.run("systemctl is-enabled libvirtd vstation-compute")).text).toBe("enabled\nenabled\n");
    // Every QEMU was asked before libvirtd began (drain-monitors.ts).
    await machine.run("systemctl restart libvirtd");
    const before = await machine.run("systemctl show -P ExecStartPre libvirtd");
    expect(before.text).toMatch(/drain-monitors\.ts .*code=exited ; status=0/);
  });

  it("has used the token up for every other machine", async () => {
    const refused = other.run(line);
    await until(
      "the refusal",
      async () => (await other.run("journalctl -u vstation-compute")).text.includes("JoinTokenUsed"),
      patienceMs,
    );
    await other.run("pkill -f '[-]-name machine-a'; sh /opt/vstation/current/packaging/host/uninstall.sh");
    expect((await refused).code).not.toBe(0);
    expect((await hosts()).map(({ underlayAddress }) => underlayAddress)).toEqual([machine.address]);
    await expect(lineFor("machine-a")).rejects.toThrow(/remove it first/);
  });

  it("runs a guest whose image it fetched, by a QEMU without privileges, past a Compute that hangs", async () => {
    const { instanceIds } = await native.call("instanceRun", {
      request: { instanceType: "T1.SMALL1", imageId: "img-tiny0001" },
    });
    const [id] = instanceIds;
    if (id === undefined) throw new Error("nothing was made");
    const look = async () => native.call("instanceGet", { params: { id } });
    await until("the instance to run", async () => (await look()).state === "RUNNING", patienceMs);
    const { ip } = await look();
    let answered = "";
    await until(
      "the guest's answer",
      async () => {
        const probe = await ProbeClient.connect(ip).catch(() => undefined);
        answered = (await probe?.info().catch(() => undefined))?.instanceId ?? "";
        probe?.close();
        return answered !== "";
      },
      patienceMs,
    );
    expect(answered).toBe(id);
    expect((await machine.run("ps -o user= -C qemu-system-x86_64,qemu-system-x86")).text.trim()).toBe("libvirt-qemu");
    // What it shows to another host's, for it alone to read.
    const tls = await machine.run("stat -c '%U %a' /etc/pki/qemu/vstation /etc/pki/qemu/vstation/server-key.pem");
    expect(tls.text.trim().split("\n")).toEqual(["libvirt-qemu 700", "libvirt-qemu 600"]);

    // A Compute that hangs is killed and started again by its watchdog; the guest does not notice.
    const dropIn = "/etc/systemd/system/vstation-compute.service.d";
    await machine.run(
      `mkdir ${dropIn}; printf '[Service]\\nWatchdogSec=10\\n' > ${dropIn}/test.conf; systemctl daemon-reload`,
    );
    await machine.run("systemctl restart vstation-compute");
    const pidOf = async (what: string) => (await machine.run(what)).text.trim();
    const compute = await pidOf("systemctl show -P MainPID vstation-compute");
    const guest = await pidOf("pgrep qemu-system");
    await machine.run(`kill -STOP ${compute}`);
    await until(
      "another Compute",
      async () => !["0", compute].includes(await pidOf("systemctl show -P MainPID vstation-compute")),
      patienceMs,
    );
    await until("the host to be ready again", async () => (await hosts())[0]?.state === "ready", patienceMs);
    expect(await pidOf("pgrep qemu-system")).toBe(guest);
    await machine.run(`rm -r ${dropIn}; systemctl daemon-reload`);

    await expect(vstation("host", "remove", "machine-a", "-y")).rejects.toThrow(id);
    await native.call("instanceTerminate", { request: { ids: [id] } });
    await until(
      "the instance to be gone",
      async () => (await native.call("instanceList", { query: {} })).instances.length === 0,
      patienceMs,
    );
  });

  it("takes nothing new while it is cordoned", async () => {
    await vstation("host", "cordon", "machine-a");
    expect(await vstation("host", "list")).toContain("ready, cordoned");
    const run = async () =>
      native.call("instanceRun", {
        request: { instanceType: "T1.SMALL1", imageId: "img-tiny0001", dryRun: true },
      });
    await expect(run()).rejects.toMatchObject({ code: "InsufficientCapacity" });
    await vstation("host", "uncordon", "machine-a");
    await until("room again", async () =>
      run().then(
        () => true,
        () => false,
      ),
    );
  });

  it("is removed without a trace, and is no host any more", async () => {
    expect((await machine.run(traces)).text).toContain("/opt/vstation");
    expect(await vstation("host", "remove", "machine-a", "-y")).toContain("clears itself away");
    await until(
      "it to clear itself away",
      async () => (await machine.run("test -e /opt/vstation")).code !== 0,
      patienceMs,
    );
    expect((await machine.run(traces)).text).toBe("");
    expect(await hosts()).toEqual([]);
    // With a new line it is one again, and the same one.
    expect(await lineFor("machine-a")).toContain("--name machine-a");
  });
});

describe("a machine without curl that dies", () => {
  it("joins by wget, and is removed by the word of its operator when it is out of reach", async () => {
    await other.run("rm -f /usr/bin/curl");
    expect((await other.run(traces)).text).toBe("");
    const { text } = await other.run(await lineFor("machine-b"));
    expect(text).toContain("This machine is a host");
    await until("the host to be ready", async () => (await hosts()).some(({ state }) => state === "ready"), patienceMs);
    await other.destroy();
    await until(
      "it to be missed",
      async () => (await hosts()).some(({ state }) => state === "unreachable"),
      patienceMs,
    );
    await expect(vstation("host", "remove", "machine-b", "-y")).rejects.toThrow(/out of reach/);
    expect(await vstation("host", "remove", "machine-b", "--dead", "-y")).toContain("uninstall.sh");
    expect(await hosts()).toEqual([]);
  });
});
