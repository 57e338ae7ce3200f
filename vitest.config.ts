import { defineConfig } from "vitest/config";

// unit: pure and local, no host needed. real: drives libvirtd, QEMU, PostgreSQL or a whole lab; two files at a time, because most of
// them wait for a boot, a heartbeat or a lease, and no more, because two cores cannot boot three guests without making every
// deadline a lie. nested: what takes many minutes of emulated KVM, whose own faults nothing here can mend.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{src,lab,guest,bench,packaging}/**/*.test.ts", "test/{repository,faults}/**/*.test.ts"],
          // For a test that hangs, not for one on a busy machine.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          maxWorkers: 2,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
      { test: { name: "nested", include: ["test/nested/**/*.test.ts"] } },
    ],
  },
});
