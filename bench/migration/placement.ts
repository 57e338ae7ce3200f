/** Which core a thread is to run on while the guests' virtual processors are kept apart from all else. Pure. */
import { cpuList, parseCpuList } from "../../src/compute/machine/places.ts";

/** In the kernel's notation, "0-2,5". */
export interface Cores {
  /** Where the guests' virtual processors run, of whatever QEMU: of a guest that moves one alone has work. */
  readonly guests: string;
  readonly rest: string;
}

export interface Thread {
  readonly tid: number;
  readonly name: string;
  /** Where it may run, in the kernel's notation. */
  readonly cores: string;
}

/** One for the guests, it does not matter which, and all others for the rest. */
export function coresOf(allowed: string): Cores {
  const all = parseCpuList(allowed);
  const last = all.at(-1);
  if (last === undefined || all.length < 2)
    throw new Error(`to pin takes two cores, and there are only these: ${allowed}`);
  return { guests: String(last), rest: cpuList(all.slice(0, -1)) };
}

/** From /proc/PID/task/TID/status. */
export function parseThread(tid: number, status: string): Thread | undefined {
  const name = /^Name:\t(.*)$/m.exec(status)?.[1];
  const cores = /^Cpus_allowed_list:\t(.*)$/m.exec(status)?.[1];
  return name === undefined || cores === undefined ? undefined : { tid, name, cores };
}

/** QEMU's own name of it, which libvirt has it give (`debug-threads=on`). */
function isVirtualProcessor({ name }: Thread): boolean {
  return /^(CPU \d+|ALL CPUs)\/(KVM|TCG)$/.test(name);
}

/** Workers of a ring are the kernel's threads, which nobody else may place. */
function isKernels({ name }: Thread): boolean {
  return /^iou-(wrk|sqp)-/.test(name);
}

/** Those that may run where they should not, by where they belong. */
export function misplaced(threads: readonly Thread[], { guests, rest }: Cores): Map<string, Thread[]> {
  const home = (thread: Thread): string => (isVirtualProcessor(thread) ? guests : rest);
  return Map.groupBy(
    threads.filter((thread) => !isKernels(thread) && thread.cores !== home(thread)),
    home,
  );
}
