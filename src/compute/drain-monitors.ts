/**
 * Runs before each start of libvirtd (a drop-in of its unit; lab/host/services.sh): waits until every QEMU of this host has answered
 * what the libvirtd before asked of it.
 *
 * QEMU sends an answer on whatever connection its monitor has by then, and libvirtd goes by the order of answers, not by their ids. So
 * a libvirtd that comes back while its predecessor's last command is still being done takes that answer for the one to its own first
 * command, finds it wrong, and ends the guest (seen with 11.3: `shutting down, reason=daemon`). A reset on a busy host is such a
 * command, or anything that waits for a disk. QEMU takes commands one after the other: when it has answered one of ours, none of
 * another is under way.
 *
 * While libvirtd is away nobody else speaks to a monitor. A QEMU that does not answer at all is left as it is after a while: the
 * others need their libvirtd. Nothing here may keep libvirtd from starting, so nothing here fails.
 */
import { globSync } from "node:fs";
import { connect } from "node:net";

const deadlineMs = 60_000;
const id = "vstation-drain";

/** Resolves when nothing older is under way at this monitor, or nobody is there, or it has had its time. */
function drained(monitor: string): Promise<void> {
  return new Promise((resolve) => {
    let said = "";
    const socket = connect(monitor, () => socket.write(`${JSON.stringify({ execute: "qmp_capabilities", id })}\n`));
    const late = setTimeout(() => {
      console.error(`${monitor} has not answered for ${deadlineMs / 1000} s; libvirtd is started all the same`);
      socket.destroy();
    }, deadlineMs);
    socket.setEncoding("utf8").on("data", (part: string) => {
      const lines = (said + part).split("\n");
      said = lines.pop() ?? "";
      if (lines.some((line) => line.includes(`"${id}"`))) socket.destroy();
    });
    // Of a QEMU that has ended the socket may still lie there.
    socket.on("error", () => undefined);
    socket.on("close", () => {
      clearTimeout(late);
      resolve();
    });
  });
}

const directory = "/var/lib/libvirt/qemu";
await Promise.all(globSync(`${directory}/domain-*/monitor.sock`).map(drained));
