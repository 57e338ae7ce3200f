/** The guest's processor. */

export type Accelerator = "kvm" | "tcg";

export function cpuElement(accelerator: Accelerator): string {
  return accelerator === "kvm"
    ? `<cpu mode='host-passthrough' check='none' migratable='on'/>`
    : `<cpu mode='maximum' check='none' migratable='on'/>`;
}

/**
 * `cpu-unavailable-features` is taken from libvirt's picture of QEMU: with it libvirt reads every property of the guest's CPU
 * one by one, some 400 round trips at each start before the guest may run (measured: 600 ms against 170 ms to the end of
 * the start); without it, two. What it would learn matters only to named CPU models that are checked; ours is `check='none'`.
 */
export const capabilities = `  <qemu:capabilities><qemu:del capability='cpu-unavailable-features'/></qemu:capabilities>`;
