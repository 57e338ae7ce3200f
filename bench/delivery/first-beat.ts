/** When a guest was first heard: the arrival of the first packet from its address, on the clock of exec-clock.ts. */
import { createSocket, type Socket } from "node:dgram";
import { once } from "node:events";
import { within } from "../../src/lib/retry.ts";
import { monotonicMs } from "./exec-clock.ts";

export class FirstBeat {
  readonly port: number;
  readonly #socket: Socket;
  readonly #heard = new Map<string, number>();
  #waiting: { address: string; resolve: (at: number) => void } | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.port = socket.address().port;
    socket.on("message", (_, { address }) => {
      if (this.#heard.has(address)) return;
      const at = monotonicMs();
      this.#heard.set(address, at);
      if (this.#waiting?.address === address) this.#waiting.resolve(at);
    });
  }

  /** Listens on the machine's address in the guests' subnet, on a port of its own. */
  static async listen(address: string): Promise<FirstBeat> {
    const socket = createSocket("udp4");
    socket.bind(0, address);
    await once(socket, "listening");
    return new FirstBeat(socket);
  }

  /** The next packet from this address counts as its first. */
  forget(address: string): void {
    this.#heard.delete(address);
  }

  /** The time of the first packet from this address, in ms; throws when none came in time. */
  async from(address: string, deadlineMs: number): Promise<number> {
    const known = this.#heard.get(address);
    if (known !== undefined) return known;
    return within(
      deadlineMs,
      `a first packet from ${address}`,
      new Promise<number>((resolve) => (this.#waiting = { address, resolve })),
    );
  }

  close(): void {
    this.#socket.close();
  }
}
