/** A guest's virtual processors have a core, and nothing else runs there. */
import { describe, expect, test } from "vitest";
import { coresOf, misplaced, parseThread } from "./placement.ts";

describe("the cores of a pinned bench", () => {
  test("are one for the guests and all others for the rest", () => {
    expect(coresOf("0-1")).toEqual({ guests: "1", rest: "0" });
    expect(coresOf("0-3,8,10-11")).toEqual({ guests: "11", rest: "0-3,8,10" });
    expect(coresOf("3,9")).toEqual({ guests: "9", rest: "3" });
    expect(() => coresOf("2")).toThrow("two cores");
  });

  test("are told from the kernel's lines about a thread", () => {
    const status = "Name:\tCPU 0/TCG\nUmask:\t0022\nState:\tS (sleeping)\nCpus_allowed:\t3\nCpus_allowed_list:\t0-1\n";
    expect(parseThread(7, status)).toEqual({ tid: 7, name: "CPU 0/TCG", cores: "0-1" });
    expect(parseThread(7, "")).toBeUndefined();
  });

  test("get whatever runs elsewhere: virtual processors the one, all other threads the others", () => {
    const names = [
      "CPU 0/TCG",
      "CPU 11/KVM",
      "ALL CPUs/TCG",
      "qemu-system-x86",
      "IO mon_iothread",
      "mig/src/main",
      "node",
    ];
    const threads = names.map((name, tid) => ({ tid, name, cores: "0-1" }));
    const tids = [...misplaced(threads, { guests: "1", rest: "0" })].map(([cores, those]) => [
      cores,
      those.map(({ tid }) => tid),
    ]);
    expect(tids).toEqual([
      ["1", [0, 1, 2]],
      ["0", [3, 4, 5, 6]],
    ]);
  });

  test("are nothing to a thread that is there already, nor to the kernel's", () => {
    const threads = [
      { tid: 1, name: "CPU 0/KVM", cores: "1" },
      { tid: 2, name: "worker", cores: "0" },
      { tid: 3, name: "iou-wrk-2", cores: "0-1" },
    ];
    expect(misplaced(threads, { guests: "1", rest: "0" }).size).toBe(0);
    expect(misplaced(threads, { guests: "0", rest: "1" }).size).toBe(2);
  });
});
