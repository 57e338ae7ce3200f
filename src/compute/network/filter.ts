/**
 * Keeps one nftables table as it is wanted: remembers what it made of it and writes only what changes. What it does not know
 * (a Compute that has just begun, a table that somebody changed) it writes whole; either way in one transaction.
 */
import { run } from "../process.ts";
import { changeTable, wholeTable, type NftTable } from "./firewall/table.ts";

export class Filter {
  readonly #nft: (args: readonly string[], input?: string) => Promise<string>;
  #applied: NftTable | null = null;
  /** How the kernel lists it after our last change; null: not looked at since. */
  #listed: string | null = null;

  /** `nft`: runs the program where the table is to be. */
  constructor(nft: (args: readonly string[], input?: string) => Promise<string> = onHost) {
    this.#nft = nft;
  }

  /** True if it holds this table already, as far as it knows. */
  holds(table: NftTable): boolean {
    return this.#applied !== null && changeTable(this.#applied, table) === "";
  }

  async apply(table: NftTable): Promise<void> {
    const script = this.#applied === null ? wholeTable(table) : changeTable(this.#applied, table);
    if (script === "") return;
    try {
      await this.#write(script);
    } catch (error) {
      if (this.#applied === null) throw error;
      // Somebody took away what this was to change.
      this.#applied = null;
      await this.#write(wholeTable(table));
    }
    this.#applied = table;
  }

  /** The same, after a look at whether anybody else has changed it. */
  async repair(table: NftTable): Promise<void> {
    if (this.#applied !== null && this.#listed !== null && (await this.#list()) !== this.#listed) this.#applied = null;
    await this.apply(table);
    this.#listed ??= await this.#list();
  }

  /** It is not there any more, or another one of the same name is. */
  forget(): void {
    this.#applied = null;
    this.#listed = null;
  }

  async #write(script: string): Promise<void> {
    this.#listed = null;
    await this.#nft(["-f", "-"], script);
  }

  async #list(): Promise<string> {
    const { family, name } = this.#applied ?? { family: "inet", name: "" };
    try {
      return await this.#nft(["-s", "list", "table", family, name]);
    } catch {
      // Not there: never what a write leaves.
      return "";
    }
  }
}

function onHost(args: readonly string[], input?: string): Promise<string> {
  return run("nft", args, input === undefined ? {} : { input });
}
