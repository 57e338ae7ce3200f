/** What can happen in the world of a migration (world.fake.ts), by name: in good order, or not. */
import { isUp } from "./source.ts";
import type { TargetSituation } from "./target.ts";
import { stepVstation, tellSource, tellTarget, tellVstation } from "./world-vstation.fake.ts";
import type { World } from "./world.fake.ts";

const actions: Record<string, (world: World) => unknown> = {
  fill: (w) => w.fillInTime(),
  "run early": (w) => w.runEarly(),
  "source looks": (w) => w.lookAtSource(),
  source: (w) => w.stepSource(),
  "target looks": (w) =>
    Object.assign(w.target, {
      ...{ looked: w.target.guest, lookedNeverRan: w.target.neverRan, memory: memoryThere(w), settled: !w.finishing },
    }),
  target: (w) => w.stepTarget(),
  vstation: stepVstation,
  "source says": (w) => tellVstation(w, "source"),
  "target says": (w) => tellVstation(w, "target"),
  "tell source": tellSource,
  "tell target": tellTarget,
  perform: (w) => w.postcopy || w.perform(),
  finish: (w) => w.finishInTime(),
  "ask to finish": (w) => w.askToFinish(),
  "give up finishing": (w) => w.giveUpFinishing(),
  lever: (w) => w.lever(),
};

export const trouble: Record<string, (world: World) => unknown> = {
  "source dies": (w) => w.dieSource(),
  "target dies": (w) => w.dieTarget(),
  "target's host is lost": (w) => w.loseTarget(),
  "storage fails here": (w) => w.holdHere(),
  "storage fails there": (w) => w.holdThere(),
  "source asks in vain": (w) => Object.assign(w.source, { inVain: true }),
  "guest ends there": (w) => w.endThere(),
  "finish fails": (w) => w.finish(false, true, true),
  "finish unheard": (w) => w.finish(true, false, false),
  "finish unheard by source": (w) => w.finish(true, true, false),
  "finish fails unheard": (w) => w.finish(false, false, false),
  "source is missed": (w) => Object.assign(w.vstation, { sourceLink: "unreachable", sourceSeenAt: -Infinity }),
  cancel: (w) => Object.assign(w.vstation, { wish: "cancel" }),
  "switch breaks": (w) => w.breakSwitch(true),
  "switch breaks unseen": (w) => w.breakSwitch(false),
  "feed breaks": (w) => w.breakFeed(),
  "feed breaks at its end": (w) => w.failAtTheEnd(true),
  "feed breaks before its end": (w) => w.failAtTheEnd(false),
  "libvirt forgets": (w) => w.forgetEarly(),
  // Shortly before or after the lever was pulled.
  converges: (w) => w.perform(),
};
Object.assign(actions, trouble);
export const calm = Object.keys(actions).filter((name) => !(name in trouble));

/** Lets it happen, and looks for whatever may never be. */
export function act(world: World, action: string): void {
  world.history.push(action);
  world.now++;
  actions[action]?.(world);
  check(world);
}

function memoryThere({ copy, whole, broken, target }: World): TargetSituation["memory"] {
  if ((copy !== "fed" && !broken) || whole) return isUp(target.guest) ? "whole" : "unknown";
  return broken ? "missing" : "coming";
}

function check(world: World): void {
  // What QEMU does by itself is seen a moment later.
  const twice = !world.stale && isUp(world.source.guest) && isUp(world.target.guest);
  if (twice) throw new Error(`runs twice: ${world.history.join(" ")}`);
  const off = [world.source.guest, world.target.guest].includes("off");
  if (world.copy === "fed" && !world.whole && off) throw new Error(`half of it is lost: ${world.history.join(" ")}`);
  if (world.target.guest === "running") world.ranThere = true;
  if (world.stuck && world.source.guest === "running") throw new Error(`QEMU refuses: ${world.history.join(" ")}`);
  const oldMemory = !world.stale && world.ranThere && world.source.guest === "running";
  if (oldMemory) throw new Error(`older memory over newer disks: ${world.history.join(" ")}`);
  if (world.ended) return;
  if (world.source.guest === "off" && world.target.guest === "off") throw new Error(`lost: ${world.history.join(" ")}`);
}
