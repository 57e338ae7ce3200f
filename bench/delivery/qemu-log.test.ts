import { describe, expect, it } from "vitest";
import { bareCommand, lastCommand, shellWords } from "./qemu-log.ts";

/** As libvirt 11.3 wrote it, shortened. */
const log = String.raw`2026-11-23 22:00:00.801+0000: starting up libvirt version: 11.3.0, package: x, hostname: host1
LC_ALL=C \
/usr/bin/qemu-system-x86_64 \
-name guest=older
2026-11-23 22:10:00.801+0000: shutting down, reason=destroyed
2026-11-23 22:49:58.801+0000: starting up libvirt version: 11.3.0, package: x, hostname: host1
LC_ALL=C \
HOME=/var/lib/libvirt/qemu/domain-1-ins-aaaaaaaa \
/usr/bin/qemu-system-x86_64 \
-name guest=ins-aaaaaaaa,debug-threads=on \
-S \
-object '{"qom-type":"secret","id":"masterKey0","format":"raw","file":"/var/lib/libvirt/qemu/domain-1-ins-aaaaaaaa/master-key.aes"}' \
-machine pc-q35-10.0,usb=off,memory-backend=pc.ram \
-object '{"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456}' \
-no-user-config \
-chardev socket,id=charmonitor,fd=18,server=on,wait=off \
-mon chardev=charmonitor,id=monitor,mode=control \
-append 'console=ttyS0 it'\''s quiet' \
-blockdev '{"driver":"file","filename":"/home/instances/ins-aaaaaaaa/disk.qcow2","node-name":"libvirt-2-storage"}' \
-netdev '{"type":"tap","fd":"21","vhost":true,"vhostfd":"22","id":"hostnet0"}' \
-add-fd set=0,fd=16,opaque=serial0-log \
-chardev socket,id=charserial0,fd=26,server=on,wait=off,logfile=/dev/fdset/0,logappend=on \
-chardev socket,id=charchannel0,fd=17,server=on,wait=off \
-vnc vnc=unix:/var/lib/libvirt/qemu/domain-1-ins-aaaaaaaa/vnc.sock,audiodev=audio1 \
-msg timestamp=on
2026-11-23 22:49:58.801+0000: Domain id=1 is tainted: high-privileges
`;

const plan = {
  dir: "/tmp/bare",
  tap: "tap9",
  name: "bare",
  replace: new Map([["/home/instances/ins-aaaaaaaa", "/tmp/bare"]]),
};

describe("libvirt's log", () => {
  it("gives the newest start, unquoted", () => {
    const { env, argv } = lastCommand(log);
    expect(env).toEqual({ LC_ALL: "C", HOME: "/var/lib/libvirt/qemu/domain-1-ins-aaaaaaaa" });
    expect(argv.slice(0, 4)).toEqual([
      "/usr/bin/qemu-system-x86_64",
      "-name",
      "guest=ins-aaaaaaaa,debug-threads=on",
      "-S",
    ]);
    expect(argv).toContain("console=ttyS0 it's quiet");
    expect(argv.at(-1)).toBe("timestamp=on");
  });

  it("may hold no start", () => {
    expect(() => lastCommand("2026-11-23: shutting down\n")).toThrow("no start");
    expect(() => lastCommand("")).toThrow("no start");
  });

  it("splits shell words", () => {
    expect(shellWords("a 'b c' \\\nd\\ e 'f'\\''g'")).toEqual(["a", "b c", "d e", "f'g"]);
  });
});

describe("the bare guest", () => {
  const bare = bareCommand(lastCommand(log), plan);

  it("is the same but for what needs libvirt", () => {
    expect(bare).toEqual([
      "/usr/bin/qemu-system-x86_64",
      "-name",
      "guest=bare,debug-threads=on",
      "-machine",
      "pc-q35-10.0,usb=off,memory-backend=pc.ram",
      "-object",
      '{"qom-type":"memory-backend-ram","id":"pc.ram","size":268435456}',
      "-no-user-config",
      "-append",
      "console=ttyS0 it's quiet",
      "-blockdev",
      '{"driver":"file","filename":"/tmp/bare/disk.qcow2","node-name":"libvirt-2-storage"}',
      "-netdev",
      '{"type":"tap","vhost":true,"id":"hostnet0","ifname":"tap9","script":"no","downscript":"no"}',
      "-chardev",
      "socket,id=charserial0,path=/tmp/bare/charserial0.sock,server=on,wait=off,logfile=/tmp/bare/charserial0.log,logappend=on",
      "-chardev",
      "socket,id=charchannel0,path=/tmp/bare/charchannel0.sock,server=on,wait=off",
      "-vnc",
      "vnc=unix:/tmp/bare/vnc.sock,audiodev=audio1",
      "-msg",
      "timestamp=on",
    ]);
  });

  it("is refused when QEMU was passed a descriptor that is not understood", () => {
    const { env, argv } = lastCommand(log);
    expect(() => bareCommand({ env, argv: [...argv, "-incoming", "fd:5"] }, plan)).toThrow("unknown");
    expect(() => bareCommand({ env, argv: [...argv, "-netdev", '{"type":"tap","fds":"3:4"}'] }, plan)).toThrow(
      "queues",
    );
    expect(() => bareCommand({ env, argv: [...argv, "-netdev", '{"type":"user"}'] }, plan)).toThrow("no tap");
  });
});
