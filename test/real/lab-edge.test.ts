/**
 * What a lab changes on the machine, tried in a network namespace of its own, where forwarding is off and nothing else runs.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { firstChoice, planOf } from "../../lab/plan.ts";

const lab = join(import.meta.dirname, "../../lab");

const prelude = `
  import { edgeDown, edgeFlood, edgeUp } from "${lab}/edge.ts";
  import { leftBehind, traces } from "${lab}/traces.ts";
  import { run } from "${lab}/run.ts";
  import { readFileSync } from "node:fs";
  const forwarding = (device) => readFileSync("/proc/sys/net/ipv4/conf/" + device + "/forwarding", "utf8").trim();
  await run("sysctl", ["-qw", "net.ipv4.ip_forward=0"]);
  await run("ip", ["link", "set", "lo", "up"]);
  await run("ip", ["link", "add", "up0", "type", "veth", "peer", "name", "up1"]);
  await run("ip", ["address", "add", "192.0.2.2/24", "dev", "up0"]);
  await run("ip", ["link", "set", "up0", "up"]);
  await run("ip", ["link", "set", "up1", "up"]);
  await run("ip", ["route", "add", "default", "via", "192.0.2.1"]);
  const tell = (value) => process.stdout.write(JSON.stringify(value));
`;

/** Runs a script in a new network namespace and returns what it tells. */
function alone(script: string): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = spawn("unshare", [
      "--net",
      "--mount",
      process.execPath,
      "--input-type=module",
      "-e",
      prelude + script,
    ]);
    let out = "";
    let err = "";
    child.stdout.on("data", (text: Buffer) => (out += text.toString()));
    child.stderr.on("data", (text: Buffer) => (err += text.toString()));
    child.once("error", reject);
    child.once("close", (code) => (code === 0 ? resolve(JSON.parse(out)) : reject(new Error(`${code}: ${err}`))));
  });
}

describe("the machine's side of a lab", () => {
  it("comes up twice the same, reaches out masked, and leaves nothing behind", async () => {
    const told = await alone(`
      const before = await traces();
      const { n } = await edgeUp("/one", undefined);
      const first = await run("ip", ["-4", "-o", "address", "show"]);
      const again = await edgeUp("/one", n);
      const second = await run("ip", ["-4", "-o", "address", "show"]);
      await edgeFlood(again, "10.96." + n + ".11");
      await edgeFlood(again, "10.96." + n + ".11");
      const flood = (await run("bridge", ["fdb", "show", "dev", again.guests.edge.device])).split("00:00:00:00:00:00").length - 1;
      const rules = await run("nft", ["list", "table", "ip", again.nftTable]);
      const up = forwarding("up0");
      // A host that the kernel has not cleared away yet.
      await run("ip", ["link", "add", "vs" + n + "h1", "type", "veth", "peer", "name", "eth0"]);
      await run("ip", ["link", "set", "vs" + n + "h1", "master", again.underlay.bridge, "up"]);
      await edgeDown("/one");
      const left = leftBehind(before, await traces(), "/one", n);
      tell({ n, same: first === second && again.n === n, flood, masked: rules.split("masquerade").length - 1, up, down: forwarding("up0"), left });
    `);
    expect(told).toEqual({ n: firstChoice("/one"), same: true, flood: 1, masked: 1, up: "1", down: "0", left: [] });
  });

  it("switches forwarding off only with the last lab, whoever switched it on", async () => {
    const told = await alone(`
      const one = await edgeUp("/one", undefined);
      const two = await edgeUp("/two", undefined);
      const states = [forwarding("up0")];
      await edgeDown("/one");
      states.push(forwarding("up0"));
      await edgeDown("/two");
      states.push(forwarding("up0"));
      tell({ differ: one.n !== two.n, states });
    `);
    expect(told).toEqual({ differ: true, states: ["1", "1", "0"] });
  });

  it("leaves forwarding on where it was on before", async () => {
    const told = await alone(`
      await run("sysctl", ["-qw", "net.ipv4.conf.up0.forwarding=1"]);
      const { n } = await edgeUp("/one", undefined);
      await edgeDown("/one");
      tell(forwarding("up0"));
    `);
    expect(told).toBe("1");
  });

  it("goes around addresses that are taken, and never moves a home that has its own", async () => {
    const first = planOf(firstChoice("/one"));
    const told = await alone(`
      await run("ip", ["route", "add", "${first.underlay.cidr}", "via", "192.0.2.77"]);
      const moved = (await edgeUp("/one", undefined)).n;
      await edgeDown("/one");
      const refused = await edgeUp("/one", ${first.n}).then(() => "", (error) => error.message);
      tell({ moved, refused });
    `);
    expect(told).toMatchObject({ moved: (first.n + 1) % 64 });
    expect((told as { refused: string }).refused).toContain(`route to ${first.underlay.cidr}`);
  });

  it("gets through a firewall that drops what is forwarded, and takes its exceptions back", async () => {
    const told = await alone(`
      await run("nft", ["-f", "-"], { input: \`table ip filter {
        chain FORWARD { type filter hook forward priority filter; policy drop; ip saddr 198.51.100.1 accept; }
      }\` });
      const rules = () => run("nft", ["list", "table", "ip", "filter"]);
      const before = await rules();
      const { n } = await edgeUp("/one", undefined);
      const first = await rules();
      await edgeUp("/one", n);
      const second = await rules();
      await edgeDown("/one");
      tell({ open: first.split("\\n").filter((line) => line.includes("vs" + n + "u")).length, same: first === second, back: before === await rules() });
    `);
    expect(told).toEqual({ open: 2, same: true, back: true });
  });

  it("takes over its own bridge, and clears away one whose maker was killed before it could say whose it is", async () => {
    const [first, next] = [planOf(firstChoice("/one")), planOf((firstChoice("/one") + 1) % 64)];
    const told = await alone(`
      await run("ip", ["route", "add", "${first.underlay.cidr}", "via", "192.0.2.77"]);
      const one = (await edgeUp("/one", undefined)).n;
      // Killed before it wrote its number down: the kernel still knows it, although the first choice is free again.
      await run("ip", ["route", "delete", "${first.underlay.cidr}"]);
      const again = (await edgeUp("/one", undefined)).n;
      await run("ip", ["link", "add", "${first.underlay.bridge}", "address", "${first.underlay.mac}", "type", "bridge"]);
      await edgeDown("/one");
      tell({ one, again, left: (await run("ip", ["-o", "link", "show"])).match(/vs\\d+/g) });
    `);
    expect(told).toEqual({ one: next.n, again: next.n, left: null });
  });

  it("does not touch a lab of another home", async () => {
    const told = await alone(`
      const { n, underlay } = await edgeUp("/one", undefined);
      await edgeDown("/two");
      const kept = await run("ip", ["-o", "link", "show", underlay.bridge]);
      const refused = await edgeUp("/two", n).then(() => "", (error) => error.message);
      tell({ kept: kept.includes(underlay.bridge), refused });
    `);
    expect(told).toMatchObject({ kept: true, refused: expect.stringContaining("of /one") as string });
  });
});
