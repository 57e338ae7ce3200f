/** What libvirt at one host tells libvirt at the other, as it goes between two Computes. */

export function encoded(cookie: Uint8Array): string {
  return Buffer.from(cookie).toString("base64");
}

export function decoded(text: string): Uint8Array {
  return Buffer.from(text, "base64");
}

/**
 * As of a QEMU that knows no way of their own for pages that a guest waits for (`postcopy-preempt`), which libvirt takes unasked where both sides
 * have it. With it QEMU 10.0 ends itself, and the guest, when its way breaks twice: what it is told of the mended way and the end of that one come
 * together, and the thread that loads such pages reads a file that is gone.
 */
export function withoutPreempt(cookie: Uint8Array): Uint8Array {
  return Buffer.from(
    Buffer.from(cookie)
      .toString()
      .replace(/<cap name='postcopy-preempt'[^>]*>/, ""),
  );
}
