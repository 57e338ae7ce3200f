/**
 * A lab to measure and to break: one of its own in a temporary home, or one that already runs.
 *
 * Whoever began it ends it, also when the work in between threw.
 */
import { existsSync, mkdtempSync, readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hostPlanOf, type HostPlan } from "../lab/plan.ts";
import { processesInside } from "../lab/processes.ts";
import { run } from "../lab/run.ts";
import { TestLab } from "../lab/testing.ts";
import { connectCloud, type CloudClient } from "./cloud.ts";

export interface LabSessionOptions {
  /** Use this running lab and leave it running; otherwise one is made and removed. */
  readonly home?: string | undefined;
  readonly hosts: number;
  /** Where a temporary home is made; default the machine's folder for that. */
  readonly parent?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export class LabSession {
  readonly lab: TestLab;
  readonly hosts: readonly LabHost[];
  readonly cloud: CloudClient;
  readonly #temporary: boolean;

  private constructor(lab: TestLab, temporary: boolean) {
    const { home } = lab;
    const memory = home.remembered();
    if (memory === undefined || !existsSync(home.credentialsFile)) {
      throw new Error(`no lab has been started in ${home.path}; \`npm start -- --home ${home.path}\` starts one`);
    }
    this.lab = lab;
    this.#temporary = temporary;
    this.hosts = Array.from({ length: memory.hosts }, (_, i) => new LabHost(lab, hostPlanOf(lab.plan, i + 1)));
    this.cloud = connectCloud(home.credentialsFile);
  }

  static async begin(options: LabSessionOptions): Promise<LabSession> {
    if (options.home !== undefined) return new LabSession(new TestLab(options.home), false);
    const lab = new TestLab(mkdtempSync(join(options.parent ?? tmpdir(), "vstation-")));
    try {
      await lab.start({ hosts: options.hosts, ...(options.env === undefined ? {} : { env: options.env }) });
      return new LabSession(lab, true);
    } catch (error) {
      await lab.destroy();
      throw error;
    }
  }

  /** Where guests reach this machine in their own subnet. */
  get address(): string {
    return this.lab.plan.guests.edge.ip;
  }

  host(name: string): LabHost {
    const host = this.hosts.find((each) => each.name === name);
    if (host === undefined) throw new Error(`no host ${name} in this lab`);
    return host;
  }

  /** Powers off and removes a lab of our own; leaves a borrowed one as it is. */
  async end(): Promise<void> {
    if (this.#temporary) await this.lab.destroy();
  }
}

export class LabHost {
  readonly name: string;
  readonly dir: string;
  readonly plan: HostPlan;
  readonly #lab: TestLab;

  constructor(lab: TestLab, plan: HostPlan) {
    this.name = plan.name;
    this.plan = plan;
    this.dir = lab.home.hostDir(plan.name);
    this.#lab = lab;
  }

  /** PID 1 of the host's namespaces, as the machine numbers it. */
  get init(): number {
    const init = this.#lab.pidOf(this.name);
    if (init === undefined) throw new Error(`${this.name} is off`);
    return init;
  }

  /** A command line that runs inside the host. */
  inside(command: readonly string[]): [string, ...string[]] {
    return ["nsenter", "--target", String(this.init), "--mount", "--uts", "--net", "--pid", "--", ...command];
  }

  async run(command: readonly string[]): Promise<string> {
    const [program, ...args] = this.inside(command);
    return run(program, args);
  }

  /** QEMU processes on this host: by guest name, the machine's numbers. */
  qemus(): { guest: string; pid: number }[] {
    return processesInside(this.init).flatMap(({ pid, command }) => {
      if (command[0]?.includes("/qemu-system-") !== true) return [];
      const guest = /^guest=([^,]*)/.exec(command[command.indexOf("-name") + 1] ?? "")?.[1];
      return guest === undefined ? [] : [{ guest, pid }];
    });
  }

  /** libvirt's log of a guest's starts. */
  guestLog(guest: string): string {
    return readFileSync(join(this.dir, "var/log/qemu", `${guest}.log`), "utf8");
  }
}
