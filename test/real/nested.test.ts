/**
 * A nested host: a machine with a kernel of its own among a lab's hosts. It joins as the others do, proves KVM where the machine
 * around it has none to offer, and a guest runs on it through the whole stack, as the guest itself says.
 */
import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFailed, vi } from "vitest";
import { ProbeClient } from "../../guest/probe-client.ts";
import { TestLab } from "../../lab/testing.ts";
import { leftBehind, traces, type Traces } from "../../lab/traces.ts";
import { NativeClient } from "../../src/api/native/client.ts";

const program = join(import.meta.dirname, "../../vstation");
const patience = { timeout: 150_000, interval: 500 };
const lab = new TestLab();
let before: Traces;
let native: NativeClient;

beforeAll(async () => {
  before = await traces();
  await lab.start({ hosts: 1, nested: 1 });
  const { nativeEndpoint, nativeToken } = lab.credentials;
  native = new NativeClient({ endpoint: nativeEndpoint, token: nativeToken });
}, 400_000);
afterAll(() => lab.destroy());

const hostNames = async (): Promise<Map<string, string>> => {
  const { hosts } = await native.call("hostList", { query: {} });
  return new Map(hosts.map(({ id, name }) => [id, name]));
};

/** What a command says at the root shell that every tiny guest keeps on its console. What is typed before there is a shell is lost. */
function atConsole(id: string, command: string, historyBytes = 0): Promise<string> {
  return new Promise((resolve, reject) => {
    const args = [
      "--home",
      lab.home.path,
      "instance",
      "console",
      id,
      "--history",
      String(historyBytes),
      "--linger",
      "20",
    ];
    const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
    let said = "";
    child.stdout.on("data", (data: Buffer) => (said += data.toString()));
    child.once("error", reject);
    child.once("close", () => resolve(said));
    child.stdin.end(`${command}\r`);
  });
}

/** Why the machine or its guest did not do as expected is in what they said, or nowhere. */
async function tellAll(instances: readonly string[]): Promise<void> {
  const folder = lab.home.hostDir("nested1");
  const logs = `find ${folder}/log -type f -size +0 -exec sh -c 'echo "== $1"; tail -n 25 "$1"' - {} \\;`;
  process.stderr.write(execFileSync("sh", ["-c", `${logs}; true`], { encoding: "utf8" }));
  for (const id of instances) {
    const said = await atConsole(id, "ip address; dmesg | tail", 4_000).catch(String);
    process.stderr.write(`== ${id} at its console\n${said}\n`);
  }
}

describe("a nested host", () => {
  it("has KVM, proven by a guest, and a kernel of its own; the host beside it has not", async () => {
    const { hosts } = await native.call("hostList", { query: {} });
    const facts = Object.fromEntries(hosts.map((host) => [host.name, host]));
    expect(facts["nested1"]).toMatchObject({ state: "ready", readiness: { accelerator: "kvm" } });
    expect(facts["host1"]).toMatchObject({ state: "ready" });
    expect(facts["nested1"]?.inventory.versions.kernel).not.toBe(facts["host1"]?.inventory.versions.kernel);
    const complaints = async () => {
      const { hosts: now } = await native.call("hostList", { query: {} });
      const { checks = [] } = now.find(({ name }) => name === "nested1")?.readiness ?? {};
      return checks.filter(({ level }) => level !== "ok").map(({ name }) => name);
    };
    // It has no image before the first instance wants one. QEMU's certificate comes after the host is ready.
    const isWell = async () => expect((await complaints()).filter((name) => name !== "images")).toEqual([]);
    await vi.waitFor(isWell, patience);
  });

  it("runs a guest by KVM from an image that it fetched, and has it again after a power-off of the lab", async () => {
    const group = await native.call("groupCreate", { request: { name: "one each" } });
    const { instanceIds } = await native.call("instanceRun", {
      request: { instanceType: "T1.SMALL1", imageId: "img-tiny0001", count: 2, groupId: group.id },
    });
    onTestFailed(() => tellAll(instanceIds), 60_000);
    const running = async () => {
      const all = await Promise.all(instanceIds.map((id) => native.call("instanceGet", { params: { id } })));
      expect(all.map(({ state }) => state)).toEqual(["RUNNING", "RUNNING"]);
      return all;
    };
    const instances = await vi.waitFor(running, patience);
    const names = await hostNames();
    const nested = instances.find(({ hostId }) => names.get(hostId ?? "") === "nested1");
    if (nested === undefined) throw new Error("no instance was placed on the nested host");

    const info = async () => {
      const probe = await ProbeClient.connect(nested.ip);
      try {
        return await probe.info();
      } finally {
        probe.close();
      }
    };
    const first = await vi.waitFor(info, patience);
    expect(first).toMatchObject({ instanceId: nested.id, boots: 1 });
    const hasShell = async () => {
      for (const id of instanceIds) expect(await lab.cli("instance", "log", id)).toContain("/# ");
    };
    await vi.waitFor(hasShell, patience);
    // The guest's own word for what it runs on.
    expect(await atConsole(nested.id, "dmesg | grep Hypervisor")).toContain("Hypervisor detected: KVM");
    const other = instances.find(({ id }) => id !== nested.id);
    expect(await atConsole(other?.id ?? "", "dmesg | grep Hypervisor; echo said")).not.toContain("KVM");

    await lab.stop();
    // By the home only: the lab's number may be another lab's by now.
    const left = leftBehind(before, await traces(), lab.home.path, lab.plan.n);
    expect(left.filter((line) => line.includes(lab.home.path))).toEqual([]);
    await lab.start();
    await vi.waitFor(running, patience);
    expect(await vi.waitFor(info, patience)).toMatchObject({ instanceId: nested.id, boots: 2 });
  }, 600_000);
});
