/** Secrets at rest: sealed for one thing, by a key that may change, in a file that only its owner reads. */
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isSealed, Keyring } from "./keyring.ts";

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "keyring-"));
});
afterAll(() => rm(directory, { recursive: true, force: true }));

describe("the keyring", () => {
  it("opens what it sealed, for the same thing only, and nothing that was changed", async () => {
    const keyring = await Keyring.open(join(directory, "a"), true);
    const sealed = keyring.seal("the secret", "AKIDone");
    expect(sealed).not.toContain("the secret");
    expect(isSealed(sealed) && !isSealed("the secret")).toBe(true);
    expect(await keyring.open(sealed, "AKIDone")).toBe("the secret");
    expect(keyring.seal("the secret", "AKIDone")).not.toBe(sealed);
    await expect(keyring.open(sealed, "AKIDtwo")).rejects.toThrow("opening the secret of AKIDtwo");
    await expect(keyring.open(`${sealed.slice(0, -2)}AA`, "AKIDone")).rejects.toThrow("opening the secret");
    await expect(keyring.open("the secret", "AKIDone")).rejects.toThrow("not sealed");
  });

  it("lies in a file that only its owner reads, the same for all that start together", async () => {
    const where = join(directory, "b");
    const [one, two] = await Promise.all([Keyring.open(where, true), Keyring.open(where, true)]);
    expect((await stat(join(where, "secrets.json"))).mode & 0o777).toBe(0o600);
    expect(await two.open(one.seal("x", "a"), "a")).toBe("x");
  });

  it("is not made anew where it was lost, and says which file is damaged without quoting it", async () => {
    await expect(Keyring.open(join(directory, "c"), false)).rejects.toThrow(/secrets\.json is missing.*backup/);
    const where = join(directory, "b", "secrets.json");
    const good = await readFile(where, "utf8");
    await writeFile(where, good.slice(0, 40));
    const damaged = Keyring.open(join(directory, "b"), false);
    await expect(damaged).rejects.toThrow(/secrets\.json is damaged/);
    await expect(damaged).rejects.not.toThrow(good.slice(30, 38));
    await writeFile(where, good);
  });

  it("can be rotated under one that runs: old and new are opened, new is sealed by the new key", async () => {
    const where = join(directory, "d");
    const running = await Keyring.open(where, true);
    const old = running.seal("old", "a");
    const file = join(where, "secrets.json");
    const { keys } = JSON.parse(await readFile(file, "utf8")) as { keys: Record<string, string> };
    await writeFile(
      file,
      JSON.stringify({ current: "k2", keys: { ...keys, k2: Buffer.alloc(32, 7).toString("base64") } }),
    );
    const next = await Keyring.open(where, false);
    const fresh = next.seal("new", "a");
    expect([old.startsWith(next.prefix), fresh.startsWith(next.prefix)]).toEqual([false, true]);
    expect([await next.open(old, "a"), await running.open(fresh, "a")]).toEqual(["old", "new"]);
  });
});
