import { defineConfig } from "vitest/config";

// unit: pure and local, no host needed. real: drives libvirtd, QEMU, PostgreSQL or a whole lab; one file at a time,
// because two cores cannot run two labs side by side without making every deadline a lie.
export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["{src,lab,guest,bench}/**/*.test.ts", "test/{repository,faults}/**/*.test.ts"],
          // For a test that hangs, not for one on a busy machine.
          testTimeout: 60_000,
        },
      },
      {
        test: {
          name: "real",
          include: ["test/real/**/*.test.ts"],
          fileParallelism: false,
          testTimeout: 180_000,
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
