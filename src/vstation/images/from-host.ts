/**
 * Takes in the file of an image that a host makes from an instance's disk (job `image.create`), as ./receive.ts takes a client's. A host
 * may send only what a job of its own was ordered for. A part whose answer was lost is asked about again: what has gone on to be
 * converted is answered as being here whole.
 */
import type { HostId, ImageId } from "../../lib/ids.ts";
import type { VStationConfig } from "../config.ts";
import type { Store } from "../store/database.ts";
import { imageOfJob, imageStep } from "../store/images.ts";
import { Receiver, receivedOf } from "./receive.ts";

export interface FromHostOptions {
  store: Store;
  directory: string;
  limits: VStationConfig["imports"];
  /** An image can be converted. */
  onWhole: () => void;
}

const gib = 2 ** 30;

export class ImagesFromHosts {
  readonly #options: FromHostOptions;
  readonly #receiver: Receiver;

  constructor(options: FromHostOptions) {
    this.#options = options;
    this.#receiver = new Receiver(options.directory);
  }

  /** How much is here; undefined: nothing is awaited from this host. */
  async received(hostId: HostId, id: ImageId, total: number): Promise<number | undefined> {
    const { store, directory, limits } = this.#options;
    const found = await store.read((db) => imageOfJob(db, hostId, id));
    if (found === undefined || total > limits.maxSourceGiB * gib) return undefined;
    if (found.step !== "receive") return total;
    const received = await receivedOf(directory, id);
    // All parts came, and the answer to the last one did not reach the host.
    if (received >= total) await this.#whole(id);
    return received;
  }

  async take(
    hostId: HostId,
    id: ImageId,
    part: { offset: number; total: number; content: AsyncIterable<Uint8Array> },
  ): Promise<number | undefined> {
    const before = await this.received(hostId, id, part.total);
    if (before === undefined || before >= part.total) return before;
    const received = await this.#receiver.take(id, part.offset, part.total, part.content);
    if (received >= part.total) await this.#whole(id);
    return received;
  }

  async #whole(id: ImageId): Promise<void> {
    const { store, limits, onWhole } = this.#options;
    await imageStep(store, id, "receive", "convert", new Date(Date.now() + limits.maxMinutes * 60_000));
    onWhole();
  }
}
