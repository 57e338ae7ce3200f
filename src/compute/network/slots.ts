/**
 * A small number for each VPC and subnet of this host: its transit addresses, its conntrack zone. It must stay the same while the
 * network lives, or tracked connections lose their translation; and no two may share one. So it is kept in a file that
 * vanishes with the host's boot, as links and tracked connections do; Compute alone writes it.
 */
import { readFile, rename, writeFile } from "node:fs/promises";
import * as z from "zod";
import { slotCount } from "./names.ts";

const schema = z.record(
  z.string(),
  z
    .int()
    .min(1)
    .max(slotCount - 1),
);

export class Slots {
  readonly #file: string;
  #slots: Map<string, number> | null = null;

  constructor(file: string) {
    this.#file = file;
  }

  /** The slots of exactly these ids, on the disk before anybody uses one. */
  async assign(ids: Iterable<string>): Promise<ReadonlyMap<string, number>> {
    const before = (this.#slots ??= await this.#read());
    const wanted = new Set(ids);
    const next = new Map([...before].filter(([id]) => wanted.has(id)));
    const taken = new Set(next.values());
    let free = 1;
    for (const id of wanted) {
      if (next.has(id)) continue;
      while (taken.has(free)) free++;
      if (free >= slotCount) throw new Error(`more than ${slotCount} networks on one host`);
      taken.add(free);
      next.set(id, free);
    }
    if (next.size !== before.size || [...next.keys()].some((id) => !before.has(id))) {
      await writeFile(`${this.#file}.new`, JSON.stringify(Object.fromEntries(next)));
      await rename(`${this.#file}.new`, this.#file);
    }
    this.#slots = next;
    return next;
  }

  async #read(): Promise<Map<string, number>> {
    const text = await readFile(this.#file, "utf8").catch((error: NodeJS.ErrnoException) => {
      if (error.code === "ENOENT") return "{}";
      throw error;
    });
    return new Map(Object.entries(schema.parse(JSON.parse(text))));
  }
}
