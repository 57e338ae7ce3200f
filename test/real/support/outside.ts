/**
 * The test's own machine as a member of a subnet, as a router of a real network would be: it learns nothing and is told who is where. It
 * has a namespace for itself, because another test may be in a subnet of the same range just now.
 */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import type { Peer } from "../../../src/api/agent.ts";
import { until } from "../../until.ts";
import type { TestUnderlay } from "./compute-host.ts";
import { testSubnet } from "./wanted-documents.ts";

export interface Speaker {
  /** Resolves once a guest has sent something. */
  heard(): Promise<unknown>;
  /** To the guest that was heard last. */
  say(line: string): void;
}

export interface Asker {
  moreAnswers(count: number): Promise<void>;
  /** Resolves once there has been no answer for so long. */
  silence(forMs: number): Promise<void>;
  /** The numbers of those that were never answered. */
  end(): Promise<{ sent: number; lost: number[] }>;
}

/** asker.ts says how it stands so often. */
const reportEveryMs = 100;

export class Outside {
  readonly #name = `vto${process.pid % 10_000_000}`;
  readonly peer: Peer;
  readonly #programs: ChildProcess[] = [];

  constructor(underlay: TestUnderlay) {
    const name = this.#name;
    const mac = "02:77:00:00:00:02";
    this.peer = { subnetId: testSubnet.id, ip: "10.77.0.2", mac, vtep: underlay.address, name: null, groupIds: [] };
    ip(`netns add ${name}`);
    // Its tunnel stays where it was made, on the underlay; only the device moves.
    ip(
      `link add ${name} address ${mac} mtu 1500 type vxlan id ${testSubnet.vni} local ${underlay.address} dev ${underlay.bridge} dstport 4789 nolearning`,
    );
    ip(`link set ${name} netns ${name}`);
    ip(`-n ${name} addr add ${this.peer.ip}/16 dev ${name}`);
    ip(`-n ${name} link set ${name} up`);
  }

  /** From now on it sends there. */
  knows(peers: readonly Peer[]): void {
    const name = this.#name;
    for (const { ip: address, mac, vtep } of peers) {
      if (mac === this.peer.mac) continue;
      ip(`-n ${name} neigh replace ${address} lladdr ${mac} dev ${name} nud permanent`);
      execFileSync("bridge", `-n ${name} fdb replace ${mac} dev ${name} dst ${vtep} self permanent`.split(" "));
    }
  }

  /** How many of `count` were answered. Beside the test and not in it: it must go on answering Compute. */
  async pings(address: string, count: number): Promise<number> {
    // Of several it waits a second for the last, whatever `-W` says; of one alone as long as that.
    const one = `busybox ping -c 1 -W 5 ${address} >/dev/null && echo answered; sleep 0.05`;
    const args = ["netns", "exec", this.#name, "sh", "-c", `for n in $(seq ${count}); do ${one}; done`];
    const text = await new Promise<string>((done) => void execFile("ip", args, (_, out) => done(out)));
    return text.match(/answered/g)?.length ?? 0;
  }

  /** A program here that answers, on TCP or UDP, when it is told to and not before. */
  async speaker(protocol: "tcp" | "udp", port: number): Promise<Speaker> {
    const { child, printed } = this.#program("speaker.ts", protocol, String(port));
    await until("the speaker to listen", () => printed().includes("ready"));
    return {
      heard: () => until("the speaker to hear of the guest", () => printed().includes("heard"), 60_000),
      say: (line) => void child.stdin.write(`${line}\n`),
    };
  }

  /** A program here that asks the guest's echo all the time. */
  asker(address: string, everyMs: number): Asker {
    const { child, printed } = this.#program("asker.ts", address, String(everyMs));
    const answered = (): number => Number(printed().match(/answered (\d+)\n(?!.*answered \d+\n)/s)?.[1] ?? 0);
    return {
      moreAnswers: async (count) => {
        const from = answered();
        await until(`${count} more answers`, () => answered() >= from + count, 120_000);
      },
      silence: async (forMs) => {
        // By what the asker has said, and not by when that is read here.
        const reports = forMs / reportEveryMs;
        await until("no more answers", () => {
          const last =
            printed()
              .match(/answered \d+\n/g)
              ?.slice(-reports) ?? [];
          return last.length === reports && new Set(last).size === 1;
        });
      },
      end: async () => {
        child.stdin.end();
        const text = await until("the asker's end", () => /^end (.*)$/m.exec(printed())?.[1], 60_000);
        return JSON.parse(text) as { sent: number; lost: number[] };
      },
    };
  }

  #program(name: string, ...rest: string[]) {
    const script = join(import.meta.dirname, name);
    const args = ["netns", "exec", this.#name, process.execPath, script, ...rest];
    const child = spawn("ip", args, { stdio: ["pipe", "pipe", "inherit"] });
    let text = "";
    child.stdout.setEncoding("utf8").on("data", (part: string) => (text += part));
    this.#programs.push(child);
    return { child, printed: () => text };
  }

  /** The device goes with its namespace. */
  remove(): void {
    for (const child of this.#programs) child.kill();
    ip(`netns del ${this.#name}`);
  }
}

function ip(line: string): void {
  execFileSync("ip", line.split(" "));
}
