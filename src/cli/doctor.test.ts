/** What the doctor finds in a home, and what it puts into a bundle. */
import { statSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { fakeToken } from "../vstation/native/cloud.fake.ts";
import { personEach } from "./person.fake.ts";

const here = personEach();
const { cli } = here;

describe("doctor", () => {
  it("finds a home well, and what is wrong with one", async () => {
    const well = await cli("doctor --json");
    const { ok, findings } = JSON.parse(well.out) as { ok: boolean; findings: { check: string; level: string }[] };
    expect(findings.filter(({ level }) => level === "error")).toEqual([]);
    expect(ok).toBe(true);
    expect(well.code).toBe(0);
    expect(findings.map(({ check }) => check)).toEqual(expect.arrayContaining(["vstation", "host host1", "disk"]));
    here.person.writeCredentials("http://127.0.0.1:1", fakeToken);
    const ill = await cli("doctor");
    expect(ill.code).toBe(1);
    expect(ill.out).toMatch(/ERROR +vstation +EndpointUnreachable/);
    expect(ill.out).toContain("next: start it (`npm start");
  });

  it("writes a bundle once", async () => {
    const file = join(here.home, "b.tar.gz");
    expect((await cli(`doctor --bundle ${file}`)).code).toBe(0);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect((await cli(`doctor --bundle ${file}`)).code).toBe(2);
  });
});
