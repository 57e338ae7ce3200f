/**
 * The processor that guests of this host see. Can it give them the zone's? Asked of libvirt, which knows what QEMU makes of every model
 * on this very machine; before a guest is started, because QEMU itself leaves out what it cannot give and says nothing: a guest would
 * have another processor than it was promised, and could not move to where it has to.
 *
 * A declared shape (the lab) may take features away: its guests do not see them, under any baseline, and what needs them is refused,
 * as on a machine that never had them.
 */
import type { CpuBaseline } from "../../core/machine.ts";
import { firstOf } from "../../lib/words.ts";
import { LibvirtError } from "../../libvirt/errors.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { cpuModel, type Accelerator } from "../vm/domain-xml/machine.ts";

export interface ProcessorOptions {
  readonly libvirt: Hypervisor;
  readonly accelerator: Accelerator;
  readonly emulator: string;
  /** Features that this host is declared not to have. */
  readonly without: readonly string[];
}

export class Processor {
  readonly #options: ProcessorOptions;
  /** A host does not lose features while it runs; what it lacks is asked for again, a newer QEMU may have it. */
  readonly #given = new Set<string>();

  constructor(options: ProcessorOptions) {
    this.#options = options;
  }

  get without(): readonly string[] {
    return this.#options.without;
  }

  /** Why this host cannot give that processor; null: it can. Throws when libvirt does not say. */
  async lacks(baseline: CpuBaseline): Promise<string | null> {
    if (baseline === "host") return null;
    const { libvirt, without } = this.#options;
    const xml = element(cpuModel(baseline));
    if (this.#given.has(xml)) return null;
    try {
      await libvirt.cpuCompare(this.#want, xml);
      const taken = (await this.#expanded(xml)).filter((name) => without.includes(name));
      if (taken.length > 0) return `this host is declared to have no ${firstOf(taken, 12)}`;
      this.#given.add(xml);
      return null;
    } catch (error) {
      // What is missing stands in libvirt's sentence only; it is passed on to a person, and nothing is decided by it.
      // A model that libvirt has never heard of is one that it cannot give.
      if (!(error instanceof LibvirtError)) throw error;
      const text = error.detail["text"];
      return typeof text === "string" && text !== "" ? text : error.message;
    }
  }

  /** What a guest sees of it here, by libvirt's names. */
  async features(baseline: CpuBaseline): Promise<string[]> {
    const { without } = this.#options;
    const xml = baseline === "host" ? await this.#own() : element(cpuModel(baseline));
    return (await this.#expanded(xml)).filter((name) => !without.includes(name));
  }

  /** QEMU's name of the machine that a guest gets here, with its version. */
  async machineType(): Promise<string> {
    return /<machine>([^<]+)<\/machine>/.exec(await this.#capabilities())?.[1] ?? "";
  }

  /** This host's own, as libvirt would give it to a guest under its name of a model. */
  async #own(): Promise<string> {
    const model = /<mode name='host-model' supported='yes'>([^]*?)<\/mode>/.exec(await this.#capabilities())?.[1];
    if (model === undefined) throw new Error("libvirt does not say what processor this host can give");
    return element([model]);
  }

  async #capabilities(): Promise<string> {
    return await this.#options.libvirt.domainCapabilities(this.#want);
  }

  async #expanded(xml: string): Promise<string[]> {
    const whole = await this.#options.libvirt.cpuBaseline(this.#want, [xml], { expand: true });
    return [...whole.matchAll(/<feature policy='require' name='([^']+)'\/>/g)].map(([, name = ""]) => name);
  }

  get #want() {
    const { accelerator, emulator } = this.#options;
    const virtType = accelerator === "kvm" ? ("kvm" as const) : ("qemu" as const);
    return { emulator, arch: "x86_64", machine: "q35", virtType };
  }
}

function element(inside: readonly string[]): string {
  return [`<cpu mode='custom' match='exact'>`, ...inside, `</cpu>`].join("");
}
