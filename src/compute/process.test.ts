/** Programs that are run, and those that stand ready before they have anything to do. */
import { expect, test } from "vitest";
import { begin, run } from "./process.ts";

test("what a program said and how it ended is in its failure", async () => {
  await expect(run("sh", ["-c", "cat; echo no >&2; exit 3"], { input: "x" })).rejects.toMatchObject({
    code: "CommandFailed",
    message: "sh failed (status 3): no",
  });
  await expect(run("/nowhere/at-all", [])).rejects.toMatchObject({ code: "CommandFailed" });
});

test("one that stands ready does its work when it has its input, and has its deadline from then on", async () => {
  const ready = begin("sh", ["-c", "read line; echo did $line"], 5_000);
  expect(ready.isOver).toBe(false);
  expect(await ready.end("this\n")).toBe("did this\n");
  expect(ready.isOver).toBe(true);
  await expect(begin("sh", ["-c", "read line; exec sleep 60"], 50).end("this\n")).rejects.toMatchObject({
    kind: "timeout",
  });
});

test("one that is dropped ends without a word, and one that has ended says so", async () => {
  const dropped = begin("cat", []);
  dropped.drop();
  await expect.poll(() => dropped.isOver).toBe(true);
  const died = begin("sh", ["-c", "exit 1"]);
  await expect.poll(() => died.isOver).toBe(true);
  await expect(died.end("x")).rejects.toMatchObject({ code: "CommandFailed" });
});
