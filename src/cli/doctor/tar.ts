/** A tar archive (POSIX ustar) of a few named texts, made in memory: enough for a bundle, nothing more. */

export interface Entry {
  /** Relative, of plain characters, at most 100 bytes. */
  name: string;
  data: Buffer;
}

const block = 512;

export function tar(entries: readonly Entry[], modified: Date): Buffer {
  const parts = entries.flatMap(({ name, data }) => [
    header(name, data.length, modified),
    data,
    Buffer.alloc((block - (data.length % block)) % block),
  ]);
  return Buffer.concat([...parts, Buffer.alloc(2 * block)]);
}

function header(name: string, size: number, modified: Date): Buffer {
  if (!/^[\w./-]{1,100}$/.test(name)) throw new Error(`${name}: no plain name of at most 100 bytes`);
  const head = Buffer.alloc(block);
  const octal = (value: number, at: number, width: number): void => {
    head.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at, "latin1");
  };
  head.write(name, 0, "latin1");
  octal(0o600, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(size, 124, 12);
  octal(Math.floor(modified.getTime() / 1000), 136, 12);
  head.write("        0", 148, "latin1"); // the sum counts its own field as blanks; "0" is a regular file
  head.write("ustar\x0000", 257, "latin1");
  const sum = head.reduce((total, byte) => total + byte, 0);
  head.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return head;
}
