/**
 * A program on a machine outside that speaks when it is told to: `speaker.ts tcp|udp PORT`. It says `heard` when a guest has sent something,
 * and sends each line of its input to who was heard last.
 */
import { createSocket } from "node:dgram";
import { createServer } from "node:net";
import { createInterface } from "node:readline";

const [, , protocol, port] = process.argv;
const input = createInterface({ input: process.stdin });
const said = (): void => void process.stdout.write("heard\n");

if (protocol === "tcp") {
  const server = createServer((socket) => {
    socket.on("error", () => undefined);
    input.removeAllListeners("line").on("line", (line) => socket.write(`${line}\n`));
    said();
  });
  server.listen(Number(port), () => process.stdout.write("ready\n"));
} else {
  const socket = createSocket("udp4");
  socket.on("message", (_, from) => {
    input.removeAllListeners("line").on("line", (line) => socket.send(line, from.port, from.address));
    said();
  });
  socket.bind(Number(port), () => process.stdout.write("ready\n"));
}
