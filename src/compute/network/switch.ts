/**
 * The switch of a guest's addresses at its hand-over, by programs that stand ready from before the guest is paused: they wait for lines on
 * their standard input, and end with this process. What has ended meanwhile is begun anew.
 */
import { crashPoint } from "../../lib/crash-point.ts";
import { begin, type Begun } from "../process.ts";
import { switchOver } from "./places.ts";
import type { GuestNic } from "./plan.ts";

const programs = ["bridge", "ip"] as const;

export class ReadySwitch {
  readonly #ready: Readonly<Record<(typeof programs)[number], Begun>>;
  readonly #nics: () => readonly GuestNic[];

  /** `nics` says where the guest is from now on, and what it has. */
  constructor(nics: () => readonly GuestNic[]) {
    this.#nics = nics;
    this.#ready = { bridge: waiting("bridge"), ip: waiting("ip") };
  }

  /** Never rejects. */
  async make(): Promise<void> {
    const lines = switchOver(this.#nics());
    await Promise.allSettled(
      programs.map((program) => {
        const ready = this.#ready[program];
        return (ready.isOver ? waiting(program) : ready).end(`${lines[program].join("\n")}\n`);
      }),
    );
    crashPoint("network.switch.done");
  }

  /** It does not come to that. */
  drop(): void {
    for (const program of programs) this.#ready[program].drop();
  }
}

function waiting(program: (typeof programs)[number]): Begun {
  return begin(program, ["-force", "-batch", "-"]);
}
