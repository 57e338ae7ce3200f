/**
 * VStation as an unprivileged service imports an image: systemd has the conversion's confinement (packaging/systemd/vstation-convert*).
 * And what a program in it cannot do, tried from inside it, by the very code that VStation has for it.
 */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { edgeDown, edgeUp } from "../../lab/edge.ts";
import { until } from "../until.ts";
import { rawDisk } from "./support/disks.ts";
import { exampleConfig, installVStation, newCluster, put } from "./support/install.ts";
import { Machine } from "./support/machine.ts";
import type { Outcome } from "../../src/vstation/images/confined.ts";

vi.setConfig({ testTimeout: 400_000 });
const patienceMs = 120_000;
const dir = mkdtempSync(join(tmpdir(), "vstation-convert-"));
const imports = "/var/lib/vstation/images/.import";
let machine: Machine;

beforeAll(async () => {
  const plan = await edgeUp(dir, undefined);
  machine = await Machine.start({ plan, home: { path: dir } }, "vstation", 20);
  await newCluster(machine);
  await machine.must("su postgres -c 'createuser vstation && createdb --owner vstation vstation'");
  await installVStation(machine);
  // Everything on one machine: PostgreSQL by its socket, the API for this machine alone.
  const database = "postgresql:///vstation?host=/run/postgresql&user=vstation";
  const config = { ...exampleConfig(plan), database, listen: { address: "127.0.0.1", port: 8443 } };
  await put(machine, "/etc/vstation/vstation.json", JSON.stringify(config), "-o root -g vstation -m 640");
  await machine.must("systemctl enable --now vstation-convert.socket vstation");
});
afterAll(async () => {
  await machine.destroy();
  await edgeDown(dir);
  rmSync(dir, { recursive: true, force: true });
});

const cli = (args: string) => machine.run(`cd /opt/vstation/current && ./vstation --home /var/lib/vstation ${args}`);

describe("an unprivileged VStation", () => {
  it("imports an image, whose disk is its own and the source's, byte for byte", async () => {
    const raw = rawDisk(join(dir, "disk.raw"), 24, 8);
    execFileSync("qemu-img", ["convert", "-f", "raw", "-O", "qcow2", raw, join(dir, "disk.qcow2")]);
    for (const file of ["disk.raw", "disk.qcow2"]) {
      await machine.must(`cat > /var/tmp/${file}`, { input: readFileSync(join(dir, file)) });
    }
    const said = await cli("image import /var/tmp/disk.qcow2 --format qcow2 --name mine --wait");
    expect(said).toMatchObject({ code: 0 });
    const disk = (await machine.must("ls /var/lib/vstation/images/img-*/disk.qcow2")).trim();
    expect(await machine.must(`stat -c '%U %G %a' ${disk}`)).toBe("vstation vstation 644\n");
    expect(await machine.must(`qemu-img compare -f raw -F qcow2 /var/tmp/disk.raw ${disk}`)).toContain("identical");
    // What it worked with goes after its end has been told.
    await until("nothing is left", async () => (await machine.must(`ls -A ${imports}`)).trim() === "", patienceMs);
    expect((await machine.run("ls /var/tmp/disk.raw; pgrep -af 'convert[.]sh|qemu-im[g]'")).text).toBe(
      "/var/tmp/disk.raw\n",
    );
  });

  it("says what is missing where the conversion is not set up", async () => {
    await machine.must("systemctl stop vstation-convert.socket");
    const { code, text } = await cli("image import /var/tmp/disk.qcow2 --format qcow2 --name none --wait");
    expect(code).toBe(1);
    expect(text).toContain("vstation-convert.socket, which is not there");
    await machine.must("systemctl start vstation-convert.socket");
  });
});

describe("a program in its confinement", () => {
  const folder = `${imports}/img-probe000`;
  const runner = `
    const { lend, runConfined } = await import("/opt/vstation/current/src/vstation/images/confined.ts");
    const { program, args, bounds, lends } = JSON.parse(process.argv[1]);
    if (lends) await lend("${folder}", "source", ["disk"]);
    const limits = { ms: 60_000, cpuSeconds: 20, memoryBytes: 2 ** 30, fileBytes: 2 ** 20, ...bounds };
    const signal = new AbortController().signal;
    console.log(JSON.stringify(await runConfined({ program, args, directory: "${folder}", limits, signal })));`;

  /** By VStation's user and its own code. */
  const order = (script: string, bounds: object, lends: boolean): string => {
    const wish = JSON.stringify({ program: "sh", args: ["-c", script], bounds, lends });
    const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;
    const node = "/opt/vstation/current/node_modules/node/bin/node --disable-warning=ExperimentalWarning";
    return `runuser -u vstation -- ${node} --input-type=module -e ${quoted(runner)} ${quoted(wish)}`;
  };
  const tried = async (script: string, bounds: object = {}, lends = true): Promise<Outcome> =>
    JSON.parse((await machine.must(order(script, bounds, lends))).trim().split("\n").at(-1) ?? "") as Outcome;

  beforeAll(async () => {
    await machine.must(
      `runuser -u vstation -- sh -c 'mkdir -p -m 700 ${folder} ${imports}/img-others00 && echo brought > ${folder}/source && ` +
        `echo foreign > ${imports}/img-others00/source'`,
    );
  });

  it("reads what it is lent and fills what was made for it, and nothing else in its folder", async () => {
    const { said, code } = await tried("cat source; echo made > disk; cat disk; echo x > source; echo x > new; ls");
    expect(said).toMatch(
      /^brought\nmade\n[^]*source: Permission denied[^]*new: Permission denied[^]*'?\.'?: Permission denied/,
    );
    expect(code).not.toBe(0);
    expect(await machine.must(`cat ${folder}/disk ${folder}/source`)).toBe("made\nbrought\n");
  });

  it("is nobody, with no right, and another nobody the next time", async () => {
    const status = "id -u; grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    // What is lent is lent once: two at the same time would each make its file.
    await tried("true");
    const [first, second] = await Promise.all([tried(status, {}, false), tried(status, {}, false)]);
    const [uid = "", ...rights] = first.said.split("\n");
    expect(Number(uid)).toBeGreaterThan(60_000);
    expect(second.said.split("\n")[0]).not.toBe(uid);
    const none = "0000000000000000";
    expect(rights.map((line) => line.split(/\s+/).join(" "))).toEqual([
      ...["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map((name) => `${name}: ${none}`),
      "NoNewPrivs: 1",
      "Seccomp: 2",
    ]);
    for (const way of ["unshare -Ur true", "setpriv --reuid 0 true", "mount -t tmpfs none /tmp", "chroot / true"]) {
      const { code, said } = await tried(way);
      expect([way, said, code === 0]).toEqual([way, said, false]);
    }
  });

  it("has no network, not even this machine's", async () => {
    const address = `${machine.address}/7443`;
    // It is there for everybody else.
    await machine.must(`bash -c 'exec 3<>/dev/tcp/${address}'`);
    const { code, said } = await tried(`bash -c 'exec 3<>/dev/tcp/${address}'`);
    expect(said).toContain("not supported");
    expect(code).not.toBe(0);
  });

  it("sees no file, no process and no import of anybody's, and can write nowhere else", async () => {
    const secrets =
      "/etc/vstation/vstation.json /var/lib/vstation/pki/ca.pem /etc/passwd /home /run/postgresql/.s.PGSQL.5432";
    for (const file of [...secrets.split(" "), `${imports}/img-others00/source`, imports]) {
      const { code, said } = await tried(`ls ${file}/* ${file}`);
      expect([file, said, code === 0]).toEqual([file, said, false]);
      expect(said).toMatch(/No such file|Permission denied/);
    }
    const { said } = await tried("for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done");
    expect(said).toContain("convert.sh");
    expect(said).not.toMatch(/node|postgres|systemd/);
    const places = "/ /tmp /var/tmp /run /usr /etc /var/lib/vstation /opt/vstation/current/packaging";
    const written = await tried(`for d in ${places}; do echo x > $d/x && echo "wrote $d"; done; true`);
    expect(written.said).not.toContain("wrote");
  });

  it("is stopped by its limits, and by the end of VStation", async () => {
    expect(await tried("head -c 2000000 /dev/zero > disk")).toMatchObject({ killedBy: "SIGXFSZ", late: false });
    expect(Number(await machine.must(`stat -c %s ${folder}/disk`))).toBe(2 ** 20);
    expect(await tried("while :; do :; done", { cpuSeconds: 1 })).toMatchObject({ killedBy: "SIGKILL", late: false });
    expect(await tried("sleep 1000", { ms: 1_000 })).toMatchObject({ killedBy: "SIGKILL", late: true });
    const running = machine.run(`${order("sleep 1001", {}, true)} & sleep 1000`);
    const alive = async (): Promise<boolean> => (await machine.run("pgrep -f 'sleep 100[1]$'")).code === 0;
    await until("it to run", alive, patienceMs);
    await machine.must("pkill -KILL -u vstation -f confined.ts");
    await until("its end", async () => !(await alive()), patienceMs);
    await machine.run("pkill -f 'sleep 100[0]'");
    await running;
  });
});
