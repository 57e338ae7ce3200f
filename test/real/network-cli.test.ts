/**
 * A network by the command line alone, from the first VPC to the last address given back, with a real guest in it: each command is held
 * against what packets do. The test's machine is on the underlay and in no VPC.
 */
import { execFile, spawn } from "node:child_process";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test, vi } from "vitest";
import { TestLab } from "../../lab/testing.ts";
import { bootIdOf } from "../faults/guest.ts";
import { until } from "../until.ts";

// Longer than all that a test waits for, one after the other: what does not come is then named.
vi.setConfig({ testTimeout: 480_000 });

const program = join(import.meta.dirname, "../../vstation");
const lab = new TestLab();
beforeAll(async () => lab.start({ hosts: 1 }));
afterAll(async () => lab.destroy());

interface Run {
  code: number;
  out: string;
  err: string;
}

function run(command: string, line: string): Promise<Run> {
  return new Promise((resolve) => {
    const env = { ...process.env, VSTATION_HOME: lab.home.path };
    const args = line.split(" ");
    const child = execFile(command, args, { env, timeout: 120_000 }, (error, out, err) =>
      resolve({ code: typeof error?.code === "number" ? error.code : error === null ? 0 : -1, out, err }),
    );
    child.stdin?.end();
  });
}

/** What is printed by a command that has to succeed. */
async function cli(line: string): Promise<string> {
  const { code, out, err } = await run(program, line);
  expect({ line, code, err: code === 0 ? "" : err }).toEqual({ line, code: 0, err: "" });
  return out;
}

async function json<T>(line: string): Promise<T> {
  return JSON.parse(await cli(`${line} --json`)) as T;
}

/** The exit code of a command that is refused, with what it says to do next. */
async function refused(line: string): Promise<string> {
  const { code, err } = await run(program, line);
  expect({ line, code }).toEqual({ line, code: 4 });
  return err;
}

const pings = async (ip: string): Promise<boolean> => (await run("busybox", `ping -c 1 -W 2 ${ip}`)).code === 0;
const answers = (ip: string): Promise<boolean> =>
  bootIdOf(ip, 3000).then(
    () => true,
    () => false,
  );

/** By a shell at the guest's console: whether it reaches the machine on the underlay. Undefined: the shell said nothing, ask again. */
async function getsOut(): Promise<boolean | undefined> {
  const target = lab.addressOf("host1").replace(/\d+$/, "1");
  const said = await new Promise<string>((resolve) => {
    const env = { ...process.env, VSTATION_HOME: lab.home.path };
    const console = spawn(program, ["instance", "console", "web", "--history", "0", "--linger", "8"], { env });
    let text = "";
    let asked = false;
    const ask = (): void => {
      asked = true;
      console.stdin.end(`ping -c 1 -W 4 ${target} >/dev/null; echo out=$(($? + 40))\r`);
    };
    console.stdout.on("data", (data: Buffer) => {
      text += data.toString("latin1");
      // What is typed before the shell is there is lost, or a part of it.
      if (!asked && text.includes("/# ")) ask();
    });
    const late = setTimeout(() => asked || ask(), 20_000);
    console.once("close", () => {
      clearTimeout(late);
      resolve(text);
    });
    console.stdin.write("\r");
  });
  const [, code] = /out=(4[01])\D/.exec(said) ?? [];
  return code === undefined ? undefined : code === "40";
}

interface Shown {
  ip: string;
  elastic: { ip: string } | null;
  securityGroupIds: string[];
}

let outside = "";

test("a VPC, a subnet and a group with rules are made, and an instance is run in them", async () => {
  await cli("vpc create shop --cidr 10.50.0.0/16");
  await cli("subnet create front --vpc shop --cidr 10.50.1.0/24");
  await run(program, "security-group create web");
  await cli("security-group allow web icmp --from anywhere");
  await cli("security-group allow web tcp:7777 --from anywhere");
  await cli("security-group allow web all --to anywhere");
  await cli("instance run --image tiny --name web --subnet front --ip 10.50.1.77 --security-group web --wait");
  expect(await json<Shown>("instance show web")).toMatchObject({ ip: "10.50.1.77", elastic: null });
  expect(await cli("subnet list --vpc shop")).toMatch(/front .* 252\/253 +- /);
  expect(await cli("security-group show web")).toMatch(/instances +1\n/);
  // Another network's address is nobody's out here.
  expect(await pings("10.50.1.77")).toBe(false);
});

test("it gets out when its subnet has a way out, and no longer", async () => {
  // It boots within that.
  await until("the guest's shell to find no way out", () => getsOut().then((out) => out === false), 170_000);
  await cli("nat-gateway create out --vpc shop");
  const { routeTables } = await json<{ routeTables: { id: string }[] }>("route-table list --vpc shop");
  const table = routeTables[0]?.id ?? "";
  await cli(`route-table set ${table} --nat-gateway out`);
  await until("the guest to get out", () => getsOut().then((out) => out === true), 60_000);
  expect(await refused("nat-gateway delete out --yes")).toContain("next: ");
  await cli(`route-table set ${table} --no-nat-gateway`);
  await until("the guest to get out no more", () => getsOut().then((out) => out === false), 60_000);
  await cli("nat-gateway delete out --yes");
});

test("it is reached from outside by an address of its own, as far as its rules go", async () => {
  const [, ip = ""] = (await cli("address allocate --name front")).trim().split(/ +/);
  outside = ip;
  await cli(`address attach ${ip} --to web`);
  expect((await json<Shown>("instance show web")).elastic?.ip).toBe(ip);
  await until("the elastic address to answer", () => pings(ip), 60_000);
  await until("the port to answer", () => answers(ip), 60_000);
  await until("the guest to get out by its own address", () => getsOut().then((out) => out === true), 60_000);

  await cli("security-group remove web tcp:7777 --from anywhere");
  await until("the port to be closed", async () => !(await answers(ip)), 60_000);
  await until("the address to answer all the same", () => pings(ip), 60_000);
  await cli("instance set web --security-group default");
  await until("the port to answer by another group's rules", () => answers(ip), 60_000);
  await cli("instance set web --security-group web --security-group default");
  await cli("security-group refuse web tcp:7777 --from anywhere");
  await until("the port to be refused by the first group", async () => !(await answers(ip)), 60_000);
});

test("nothing is taken away that is in use, and then all of it is", async () => {
  for (const line of [
    `address release ${outside} --yes`,
    "subnet delete front --yes",
    "vpc delete shop --yes",
    "security-group delete web --yes",
  ]) {
    expect(await refused(line)).toContain("next: ");
  }
  await cli("address detach front");
  await until("the address to be nobody's", async () => !(await pings(outside)), 60_000);
  await cli(`address release ${outside} --yes`);
  await cli("instance terminate web --yes --wait");
  await cli("subnet delete front --yes");
  await cli("vpc delete shop --yes");
  await cli("security-group delete web --yes");
  expect(await json("address list")).toEqual({ total: 0, elasticAddresses: [] });
  for (const kind of ["vpc", "subnet", "route-table", "nat-gateway", "security-group"]) {
    expect(await json(`${kind} list`)).toMatchObject({ total: 1 });
  }
});
