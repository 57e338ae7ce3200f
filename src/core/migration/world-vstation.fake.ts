/** VStation in the world of a migration (world.fake.ts): what it concludes, and the words between it and the two halves, any of which may be lost or late. */
import { isUp } from "./source.ts";
import { isOverFor, reconcileMigration, wishFor } from "./migration.ts";
import type { World } from "./world.fake.ts";

export function tellVstation(world: World, which: "source" | "target"): void {
  if (which === "source" && !world.source.forgotten)
    Object.assign(world.vstation, { source: world.source.said, sourceLink: "connected" });
  if (which === "target" && !world.target.forgotten) Object.assign(world.vstation, { target: world.target.said });
}

export function stepVstation(world: World): void {
  const { vstation } = world;
  if (vstation.over) return;
  const { move, cancel, end, over } = reconcileMigration(vstation, world.now);
  if (move && vstation.ended) throw new Error(`moved when it was said to stay: ${world.history.join(" ")}`);
  Object.assign(vstation, {
    moved: vstation.moved || move,
    wish: cancel ? "cancel" : vstation.wish,
    ended: vstation.ended || end !== null,
    over,
  });
  if (move && !world.ended && (!isUp(world.target.guest) || (world.copy === "fed" && !world.whole)))
    throw new Error(`moved to where it does not run: ${world.history.join(" ")}`);
}

export function tellSource(world: World): void {
  const { wish, port, fate } = wishFor(world.vstation);
  // The last port that was told is kept: the word can be had there for longer.
  const known = port ?? world.source.told.port;
  world.source.told = { wish: isOverFor(world.vstation).source ? "over" : wish, port: known, fate };
}

export function tellTarget(world: World): void {
  world.target.told = { wish: isOverFor(world.vstation).target ? "over" : world.vstation.wish };
}
