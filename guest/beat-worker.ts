/** The thread that receives beats: its own, because a busy main thread would otherwise show as gaps that the guest never had. */
import { createSocket } from "node:dgram";
import { parentPort, workerData } from "node:worker_threads";
import * as z from "zod";
import { unreachable } from "../src/lib/errors.ts";
import { BeatLog, parseBeat } from "./beats.ts";
import type { FromWorker, ToWorker } from "./beat-listener.ts";

const port = parentPort;
if (port === null) throw new Error("this file is a worker");
const { host, port: udpPort } = z.object({ host: z.string(), port: z.int() }).parse(workerData);

const say = (message: FromWorker) => port.postMessage(message);
const log = new BeatLog();
let wanted: number[] = [];

const socket = createSocket({ type: "udp4", recvBufferSize: 4 << 20 });
socket.on("message", (datagram) => {
  const at = Number(process.hrtime.bigint()) / 1e6;
  const beat = parseBeat(datagram);
  if (beat === undefined) return;
  log.add(at, beat);
  for (const id of wanted.splice(0)) say({ kind: "next", id, at, bootId: beat.bootId });
});
socket.on("error", (error) => {
  throw error;
});
socket.bind(udpPort, host, () => say({ kind: "bound", port: socket.address().port }));

port.on("message", (message: ToWorker) => {
  switch (message.kind) {
    case "next":
      wanted.push(message.id);
      return;
    case "forget":
      wanted = wanted.filter((id) => id !== message.id);
      return;
    case "report":
      say({ kind: "report", id: message.id, report: log.report(message.range) });
      return;
    case "clear":
      log.clear();
      return;
    default:
      unreachable(message);
  }
});
