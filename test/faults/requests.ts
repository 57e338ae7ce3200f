/**
 * The paths of an instance, as a client with patience walks them: a request is sent again after a lost connection, as any client
 * would, until it is accepted; and it counts only when the outcome is there, by the API and by the guest itself.
 */
import { randomUUID } from "node:crypto";
import type { InstanceWire, OperationWire } from "../../src/api/native/resources.ts";
import { imageId, instanceType } from "../../bench/delivery/guest.ts";
import type { LabSession } from "../../bench/lab-session.ts";
import type { OperationKind } from "../../src/core/instance.ts";
import { isFailure } from "../../src/lib/errors.ts";
import type { InstanceId } from "../../src/lib/ids.ts";
import { sleep } from "../../src/lib/retry.ts";
import { expectThat, until } from "../until.ts";
import { patienceMs } from "./bed.ts";
import type { Request } from "./cases.ts";
import { bootIdOf } from "./guest.ts";

/** An instance that a case works on, and what its guest was before. */
export interface Subject {
  readonly id: InstanceId;
  readonly ip: string;
  readonly bootId: string | undefined;
}

/** Brings an instance to where the request begins; `run` begins with none. */
export async function prepareSubject(lab: LabSession, request: Request): Promise<Subject | undefined> {
  if (request === "run") return undefined;
  const subject = await runSubject(lab);
  if (request !== "start") return subject;
  await lab.cloud.stop("HARD", subject.id);
  await lab.cloud.succeeded([subject.id], patienceMs);
  return { ...subject, bootId: undefined };
}

export async function runSubject(lab: LabSession): Promise<Subject> {
  const [id] = await lab.cloud.run({ name: "subject", imageId, instanceType });
  if (id === undefined) throw new Error("RunInstances returned no id");
  await lab.cloud.succeeded([id], patienceMs);
  const { ip } = await lab.cloud.instance(id);
  return { id, ip, bootId: await until(`${id} answers`, () => bootIdOf(ip), patienceMs) };
}

/** Waits until its guest answers as another boot than it was. */
export async function untilStartedAgain({ id, ip, bootId }: Subject): Promise<void> {
  await until(
    `${id} was started again`,
    async () => {
      expectThat((await bootIdOf(ip)) !== bootId, "it is the same boot");
      return true;
    },
    patienceMs,
  );
}

/** Sends the request until it is accepted; returns the instance it is about. */
export async function sendRequest(
  lab: LabSession,
  request: Request,
  subject: Subject | undefined,
): Promise<InstanceId> {
  const { cloud } = lab;
  if (request === "run") {
    const wish = { name: "subject", imageId, instanceType, clientToken: randomUUID() };
    const [id] = await insist(() => cloud.run(wish));
    if (id === undefined) throw new Error("RunInstances returned no id");
    return id;
  }
  if (subject === undefined) throw new Error(`${request} needs an instance`);
  const { id } = subject;
  const before = new Set((await insist(() => cloud.operations(id))).map((operation) => operation.id));
  const send: Record<Exclude<Request, "run">, () => Promise<void>> = {
    start: () => cloud.start(id),
    stop: () => cloud.stop("HARD", id),
    shutdown: () => cloud.stop("SOFT", id),
    reboot: () => cloud.reboot("HARD", id),
    "soft-reboot": () => cloud.reboot("SOFT", id),
    resize: () => cloud.resize(resizedType, id),
    renumber: () => cloud.renumber(neighbourOf(subject.ip), id),
    terminate: () => cloud.terminate(id),
  };
  await insist(async () => {
    // A lost answer may have been a yes: asking again then meets another state, which is no failure.
    const accepted = (await operationsOrNone(lab, id)).some(
      (operation) => operation.kind === kinds[request] && !before.has(operation.id),
    );
    if (!accepted) await send[request]();
  });
  return id;
}

/**
 * One that owns processors, so that there is something to give it. It has two, and with two an emulated guest loses its timer now and
 * then (the kernel says "Possible timer handling issue"; QEMU 10.0, multi-threaded TCG) and hangs for good: that it was
 * started anew is its host's word, and nobody waits for it to answer.
 */
export const resizedType = "S5.MEDIUM2";

/** Far from those that are given out one after the other. */
function neighbourOf(ip: string): string {
  const [a = "", b = "", c = "", d = ""] = ip.split(".");
  return [a, b, (Number(c) + 100) % 200, d].join(".");
}

const kinds: Record<Request, OperationKind> = {
  run: "instance.run",
  start: "instance.start",
  stop: "instance.stop",
  shutdown: "instance.stop",
  reboot: "instance.reboot",
  "soft-reboot": "instance.reboot",
  resize: "instance.resize",
  renumber: "instance.renumber",
  terminate: "instance.terminate",
};

async function operationsOrNone(lab: LabSession, id: InstanceId): Promise<OperationWire[]> {
  try {
    return await lab.cloud.operations(id);
  } catch (error) {
    if (isFailure(error, "not_found")) return [];
    throw error;
  }
}

/** Repeats what failed for want of an answer; what was refused is thrown at once. */
export async function insist<T>(work: () => Promise<T>): Promise<T> {
  const end = performance.now() + patienceMs;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (!isPassing(error) || performance.now() > end) throw error;
      await sleep(200);
    }
  }
}

/** Sent until it is accepted; once an answer may have been lost, a refusal says that it took place. What came of it is looked at. */
export async function ask(work: () => Promise<unknown>): Promise<void> {
  let tries = 0;
  await insist(async () => {
    tries++;
    try {
      await work();
    } catch (error) {
      if (tries === 1 || !isFailure(error, "conflict", "not_found", "invalid")) throw error;
    }
  });
}

/** No answer at all (the SDK's errors carry a request id only when there was one), or one that says "later". */
function isPassing(error: unknown): boolean {
  if (isFailure(error)) return ["unavailable", "timeout", "internal"].includes(error.kind);
  if (!(error instanceof Error)) return false;
  const { requestId, code } = error as { requestId?: string; code?: string };
  return requestId === "" || /^(InternalError|ResourceUnavailable|RequestLimitExceeded|ResourceBusy)/.test(code ?? "");
}

/**
 * Waits until the request has come to its end and the instance is where it should be. A failed operation is an end too, but only
 * with a reason, and only where `mayFail`; the instance must get where it should all the same.
 */
export async function awaitOutcome(
  lab: LabSession,
  request: Request,
  id: InstanceId,
  subject: Subject | undefined,
  mayFail: boolean,
): Promise<void> {
  const operation = await insist(() => operationOf(lab, request, id));
  const ended =
    operation.state === "SUCCEEDED" || (mayFail && operation.error !== null && operation.error.message !== "");
  expectThat(ended, `${operation.kind} ended ${operation.state}: ${JSON.stringify(operation.error)}`);
  switch (request) {
    case "run":
    case "start":
      await until(`${id} answers`, async () => bootIdOf((await inState(lab, id, "RUNNING")).ip), patienceMs);
      return;
    case "resize":
      await until(
        `${id} has another type`,
        async () => {
          const now = await inState(lab, id, "RUNNING");
          expectThat(now.instanceType === resizedType, `it is ${now.instanceType}`);
          expectThat(now.incarnation > 1, "it is the same start");
          return true;
        },
        patienceMs,
      );
      return;
    case "renumber":
      await until(
        `${id} answers elsewhere`,
        async () => {
          const { ip } = await inState(lab, id, "RUNNING");
          expectThat(ip === neighbourOf(subject?.ip ?? ""), `it has ${ip}`);
          expectThat((await bootIdOf(ip)) !== subject?.bootId, "it is the same boot");
          return true;
        },
        patienceMs,
      );
      return;
    case "reboot":
    case "soft-reboot":
      await until(
        `${id} has booted again`,
        async () => {
          const bootId = await bootIdOf((await inState(lab, id, "RUNNING")).ip);
          expectThat(bootId !== subject?.bootId, "it is the same boot");
          return true;
        },
        patienceMs,
      );
      return;
    case "stop":
    case "shutdown":
      await until(`${id} is off`, () => inState(lab, id, "STOPPED"), patienceMs);
      return;
    case "terminate":
      await until(
        `${id} is gone`,
        async () => {
          const listed = (await lab.cloud.instances()).some((instance) => instance.id === id);
          expectThat(!listed, "it is still listed");
          return true;
        },
        patienceMs,
      );
      return;
  }
}

async function operationOf(lab: LabSession, request: Request, id: InstanceId): Promise<OperationWire> {
  return until(
    `the end of ${kinds[request]} of ${id}`,
    async () => {
      const operation = (await lab.cloud.operations(id)).find((each) => each.kind === kinds[request]);
      if (operation === undefined) throw new Error("there is no such operation");
      expectThat(operation.endedAt !== null, `it is ${operation.state}: ${JSON.stringify(operation.steps)}`);
      return operation;
    },
    patienceMs,
  );
}

async function inState(lab: LabSession, id: InstanceId, state: InstanceWire["state"]): Promise<InstanceWire> {
  const instance = await lab.cloud.instance(id);
  expectThat(instance.state === state, `it is ${instance.state}: ${instance.attention ?? "nothing to say"}`);
  return instance;
}

/** Ends an instance whatever its state; nothing of it may be listed afterwards. */
export async function removeSubject(lab: LabSession, id: InstanceId): Promise<void> {
  const listed = (await insist(() => lab.cloud.instances())).some((instance) => instance.id === id);
  if (!listed) return;
  await sendRequest(lab, "terminate", { id, ip: "", bootId: undefined });
  await awaitOutcome(lab, "terminate", id, undefined, false);
}
