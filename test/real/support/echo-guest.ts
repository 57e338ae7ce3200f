/**
 * The smallest guest that can be talked to: a boot sector of our own that greets on the first serial port and then sends back
 * every byte it receives. It is up as soon as the BIOS is, needs no image and no kernel, and sleeps between bytes.
 */
import { writeFileSync } from "node:fs";

export const greeting = "echo guest here\r\n";

/** 16-bit code at 0x7c00, one instruction a line. */
const code = [
  [0xfa, 0xfc], // cli; cld
  [0x31, 0xc0], // xor ax, ax
  [0x8e, 0xd8], // mov ds, ax
  [0xbe, 0x31, 0x7c], // mov si, 0x7c31: the greeting, behind the code
  [0xac], // next: lodsb
  [0x84, 0xc0], // test al, al
  [0x74, 0x11], // jz echo
  [0x88, 0xc4], // mov ah, al
  [0xba, 0xfd, 0x03], // mov dx, 0x3fd
  [0xec], // busy: in al, dx
  [0xa8, 0x20], // test al, 0x20: room to send?
  [0x74, 0xfb], // jz busy
  [0xb2, 0xf8], // mov dl, 0xf8
  [0x88, 0xe0], // mov al, ah
  [0xee], // out dx, al
  [0xeb, 0xea], // jmp next
  [0xba, 0xfd, 0x03], // echo: mov dx, 0x3fd
  [0xec], // in al, dx
  [0xa8, 0x01], // test al, 1: a byte?
  [0x74, 0x06], // jz idle
  [0xb2, 0xf8], // mov dl, 0xf8
  [0xec], // in al, dx
  [0xee], // out dx, al
  [0xeb, 0xf2], // jmp echo
  [0xfb, 0xf4], // idle: sti; hlt: the timer wakes us 18 times a second
  [0xeb, 0xee], // jmp echo
].flat();

/** Writes the bootable disk image. */
export function writeEchoDisk(path: string): void {
  const disk = Buffer.alloc(1024 * 1024);
  disk.set(code);
  disk.write(`${greeting}\0`, code.length, "latin1");
  disk.writeUInt16LE(0xaa55, 510);
  writeFileSync(path, disk);
}

/** A domain that boots it: TCG, 32 MiB, one serial console, no network. */
export function echoDomainXml(name: string, uuid: string, disk: string): string {
  return `<domain type="qemu">
    <name>${name}</name><uuid>${uuid}</uuid>
    <memory unit="MiB">32</memory><vcpu>1</vcpu>
    <os><type arch="x86_64" machine="pc">hvm</type><boot dev="hd"/></os>
    <on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot><on_crash>destroy</on_crash>
    <devices>
      <emulator>/usr/bin/qemu-system-x86_64</emulator>
      <disk type="file" device="disk">
        <driver name="qemu" type="raw"/><source file="${disk}"/><target dev="vda" bus="virtio"/><readonly/>
      </disk>
      <controller type="usb" model="none"/>
      <serial type="pty"/><console type="pty"/>
      <memballoon model="none"/>
      <video><model type="none"/></video>
    </devices>
  </domain>`;
}
