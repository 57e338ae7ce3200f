/**
 * One VPC's router as this Compute keeps it: opened (its namespace made, its state read where that is needed) before the host lays
 * cables to it, applied (addresses, routes, rules) after.
 */
import { stat } from "node:fs/promises";
import { run } from "../process.ts";
import { Filter } from "./filter.ts";
import { routerTable } from "./firewall/router.ts";
import { namespaceFile } from "./names.ts";
import type { VpcPlan } from "./plan.ts";
import { diffRouter, setUp, makeNamespace, readRouter, runIn, type ActualRouter } from "./router.ts";

export class Router {
  /** The number of its namespace; a later one of the same name has another. */
  inode = 0;
  #vpc: VpcPlan | null = null;
  #actual: ActualRouter | null = null;
  #done = "";
  #filter: Filter | null = null;

  /** `inode`: of the namespace that is there, if one is. `looking`: read even what should be right. */
  async open(vpc: VpcPlan, inode: number | undefined, looking: boolean): Promise<void> {
    if (inode === undefined) await makeNamespace(vpc.namespace);
    const now = inode ?? (await stat(namespaceFile(vpc.namespace))).ino;
    if (now !== this.inode) {
      this.inode = now;
      this.#done = "";
      this.#filter = new Filter((args, input) => runIn(vpc.namespace, ["nft", ...args], input));
    }
    this.#vpc = vpc;
    this.#actual = looking || this.#done !== textOf(vpc) ? await readRouter(vpc.namespace) : null;
  }

  /** The links that are there, if they were read. */
  get links(): (readonly [namespace: string, links: ReadonlySet<string>])[] | null {
    if (this.#actual === null || this.#vpc === null) return null;
    return [[this.#vpc.namespace, new Set(this.#actual.links.keys())]];
  }

  async apply(): Promise<void> {
    const [vpc, actual] = [this.#vpc, this.#actual];
    if (vpc === null || actual === null || this.#filter === null) return;
    // Rules before addresses: nothing is let through that should not be.
    await this.#filter.repair(routerTable(vpc));
    if (!actual.isSet) await setUp(vpc.namespace);
    const commands = diffRouter(vpc, actual);
    if (commands.length > 0) {
      const input = commands.map((line) => `${line}\n`).join("");
      await run("ip", ["-n", vpc.namespace, "-batch", "-"], { input });
    }
    this.#done = textOf(vpc);
  }
}

/** Of what concerns the router: where addresses live does not. */
function textOf(vpc: VpcPlan): string {
  const subnets = vpc.subnets.map((subnet) => ({ ...subnet, remote: null }));
  return JSON.stringify({ ...vpc, subnets, elastic: [...vpc.elastic], answered: null });
}
