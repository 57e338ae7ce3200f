/**
 * Which boot of the host this is. The kernel's own boot id would do on a machine; a lab host shares the kernel with its machine but
 * has a `/run` of its own that ends with it, so a token in runDir is mixed in.
 */
import { createHash, randomUUID } from "node:crypto";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";

export async function readBootId(runDir: string): Promise<string> {
  await mkdir(runDir, { recursive: true, mode: 0o755 });
  const file = join(runDir, "boot-token");
  let token = await readFile(file, "utf8").catch(() => "");
  if (token === "") {
    token = randomUUID();
    await writeFile(file, token);
  }
  const kernel = await readFile("/proc/sys/kernel/random/boot_id", "utf8");
  return createHash("sha256").update(`${kernel.trim()} ${token}`).digest("hex").slice(0, 32);
}
