/**
 * A file that one host has by a file system of its own, as if it lay on another machine: whoever serves it can hang or be gone, and a lock
 * that is held there is nobody else's to see.
 */
import type { ChildProcess } from "node:child_process";
import { until } from "../../until.ts";
import type { ComputeHost } from "./compute-host.ts";

export class RemoteFile {
  readonly #host: ComputeHost;
  readonly #file: string;
  readonly #server: ChildProcess;
  readonly #others: ChildProcess[] = [];

  private constructor(host: ComputeHost, file: string, server: ChildProcess) {
    this.#host = host;
    this.#file = file;
    this.#server = server;
  }

  /** Over the file itself, at that host alone. */
  static async over(host: ComputeHost, file: string): Promise<RemoteFile> {
    const node = `driver=file,node-name=file,filename=${file},locking=off`;
    const fuse = `type=fuse,id=fuse,node-name=file,mountpoint=${file},writable=on,growable=on`;
    const server = host.spawn([...mortal, "qemu-storage-daemon", "--blockdev", node, "--export", fuse]);
    await until("the file to be served", () => host.sh(`grep -c ' ${file} fuse' /proc/mounts || true`).trim() === "1");
    return new RemoteFile(host, file, server);
  }

  /** Nobody answers for it. */
  hang(): void {
    this.#signal("STOP");
  }

  goOn(): void {
    this.#signal("CONT");
  }

  /** It is not there any more, for those too who have it open. */
  lose(): void {
    this.#server.kill("SIGKILL");
  }

  /** As QEMU locks an image that nobody else is to write to, by a process that is none. */
  async lock(): Promise<void> {
    const [unsharedWrite, ofdSetLock] = [201, 37];
    const lock = `my $lock = pack("s s x4 q q i x4", 0, 0, ${unsharedWrite}, 1, 0);`;
    const script = `${lock} open(F, "+<", $ARGV[0]) or die; fcntl(F, ${ofdSetLock}, $lock) or die; sleep`;
    this.#others.push(this.#host.spawn([...mortal, "perl", "-e", script, this.#file]));
    // The root of a file system of FUSE's is number 1: no other file's lock is taken for this one.
    const held = `grep -c 'OFDLCK.*:1 ${unsharedWrite} ${unsharedWrite}$' /proc/locks || true`;
    await until("the lock to be held", () => Number(this.#host.sh(held)) > 0);
  }

  end(): void {
    for (const child of [this.#server, ...this.#others]) child.kill("SIGKILL");
    this.#host.sh(`umount -l ${this.#file}`);
  }

  #signal(name: string): void {
    this.#host.sh(`kill -${name} $(pgrep -f 'qemu-storage-daemo[n].*mountpoint=${this.#file}')`);
    // nsenter stops with its child, and would not see its end.
    if (name === "CONT") this.#server.kill("SIGCONT");
  }
}

/** What is spawned in a host ends with nsenter. */
const mortal = ["setpriv", "--pdeathsig", "KILL"];
