/**
 * A program on a machine outside that asks a guest's echo without a pause: `asker.ts ADDRESS EVERY_MS`, one numbered datagram each time. It
 * prints how many were answered, again and again; when its input ends it waits for what is still on its way and prints the numbers of
 * those that were not.
 */
import { createSocket } from "node:dgram";

const [, , address = "", everyMs] = process.argv;
const echo = 7;
const socket = createSocket("udp4");
const open = new Set<number>();
let sent = 0;
let answered = 0;
let quietSince = performance.now();

socket.on("message", (bytes) => {
  quietSince = performance.now();
  if (open.delete(Number(bytes.toString()))) answered++;
});
const sending = setInterval(() => {
  open.add(++sent);
  socket.send(String(sent), echo, address);
}, Number(everyMs));
setInterval(() => process.stdout.write(`answered ${answered}\n`), 100);

process.stdin.on("end", () => {
  clearInterval(sending);
  setInterval(() => {
    if (open.size > 0 && performance.now() - quietSince < 3_000) return;
    process.stdout.write(`end ${JSON.stringify({ sent, lost: [...open] })}\n`, () => process.exit());
  }, 50);
});
process.stdin.resume();
