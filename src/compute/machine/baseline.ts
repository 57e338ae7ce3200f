/**
 * Can this host give its guests the zone's processor? Asked of libvirt, which knows what QEMU makes of every model on this very
 * machine; before a guest is started, because QEMU itself leaves out what it cannot give and says nothing: a guest would have
 * another processor than it was promised, and could not move to where it has to.
 */
import type { CpuBaseline } from "../../core/machine.ts";
import { LibvirtError } from "../../libvirt/errors.ts";
import type { Hypervisor } from "../hypervisor.ts";
import { cpuModel, type Accelerator } from "../vm/domain-xml/machine.ts";

/** Why not; null: it can. Throws when libvirt does not say. */
export type Lacks = (baseline: CpuBaseline) => Promise<string | null>;

export function lacksOf(libvirt: Hypervisor, accelerator: Accelerator, emulator: string): Lacks {
  /** A host does not lose features while it runs; what it lacks is asked for again, a newer QEMU may have it. */
  const given = new Set<string>();
  return async (baseline) => {
    if (baseline === "host") return null;
    const xml = [`<cpu mode='custom' match='exact'>`, ...cpuModel(baseline), `</cpu>`].join("");
    if (given.has(xml)) return null;
    const virtType = accelerator === "kvm" ? "kvm" : "qemu";
    try {
      await libvirt.cpuCompare({ emulator, arch: "x86_64", machine: "q35", virtType }, xml);
      given.add(xml);
      return null;
    } catch (error) {
      // What is missing stands in libvirt's sentence only; it is passed on to a person, and nothing is decided by it.
      // A model that libvirt has never heard of is one that it cannot give.
      if (!(error instanceof LibvirtError)) throw error;
      const text = error.detail["text"];
      return typeof text === "string" && text !== "" ? text : error.message;
    }
  };
}
