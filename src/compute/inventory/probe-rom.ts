/**
 * The smallest guest that proves an accelerator: a firmware of 64 KiB that goes from real mode over protected mode to long mode
 * with paging, computes a while, asks cpuid, writes "executed" to the serial port and ends QEMU through isa-debug-exit (0x2a,
 * hence exit status 85). No BIOS, no kernel, no disk: 60 ms under TCG.
 *
 * The code, at linear address 0xf0000 (GNU as, Intel syntax); the reset vector at the ROM's end jumps to it:
 *
 *   .code16   cli; lgdt cs:[gdt_pointer]; or cr0, PE; ljmp 8:protected
 *   .code32   protected: ds = ss = 0x10
 *             [0x1000] = 0x2003; [0x2000] = 0x3003; [0x3000] = 0x83          one page of 2 MiB, mapped to itself
 *             cr4 |= PAE; cr3 = 0x1000; EFER |= LME; cr0 |= PG; ljmp 0x18:long
 *   .code64   long: ecx = 1000000; do { rax *= rcx; rax += rcx } while (--ecx)
 *             cpuid leaf 0; for each byte of "executed": out 0x3f8; out 0xf4, 0x2a; hlt for ever
 *   gdt:      null, 32-bit code 0x8, data 0x10, 64-bit code 0x18; each marked as accessed, or the processor would write that mark into
 *             the ROM when it loads a segment (seen: KVM on an emulated SVM tries that write for ever)
 */
const code =
  "fa2e0f0116c8000f20c00c010f22c066ea17000f00080066b810008ed88ed0c7050010000003200000c7050020000003300000c705" +
  "00300000830000000f20e083c8200f22e0b8001000000f22d8b9800000c00f320d000100000f300f20c00d000000800f22c0ea6e00" +
  "0f001800b940420f00480fafc14801c8ffc975f531c00fa2488d3517000000b90800000066baf803aceee2fcb02a66baf400eef4eb" +
  "fd65786563757465640000000000000000ffff0000009bcf00ffff00000093cf00ffff0000009baf001f00a8000f00";

export const romSays = "executed";
export const romExitStatus = 85;

export function probeRom(): Buffer {
  const rom = Buffer.alloc(65536, 0xf4);
  Buffer.from(code, "hex").copy(rom);
  Buffer.from("ea000000f0", "hex").copy(rom, 0xfff0); // ljmp 0xf000:0
  return rom;
}
