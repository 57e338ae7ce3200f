/**
 * For tests: somebody with a home who types command lines for an endpoint, and what is printed. Behind the endpoint is the real handler
 * over HTTP, and behind that a cloud in memory.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach } from "vitest";
import { fakeToken, type FakeCloud } from "../vstation/native/cloud.fake.ts";
import { served, type Served } from "../vstation/native/served.fake.ts";
import type { Io } from "./io.ts";
import { runCli } from "./program.ts";

export interface Run {
  code: number;
  out: string;
  err: string;
}

export class Person {
  readonly home = mkdtempSync(join(tmpdir(), "vstation-cli-"));

  constructor(endpoint: string, token: string) {
    this.writeCredentials(`${endpoint}/v1`, token);
  }

  leave(): void {
    rmSync(this.home, { recursive: true });
  }

  writeCredentials(nativeEndpoint: string, nativeToken: string): void {
    const text = JSON.stringify({ nativeEndpoint, nativeToken, region: "local" });
    writeFileSync(join(this.home, "credentials.json"), text, { mode: 0o600 });
  }

  async cli(line: string, change: Partial<Io> = {}): Promise<Run> {
    const run: Run = { code: -1, out: "", err: "" };
    const io: Io = {
      out: (text) => void (run.out += text),
      err: (text) => void (run.err += text),
      outIsTty: false,
      errIsTty: false,
      stdin: process.stdin,
      stdout: process.stdout,
      env: {},
      signal: new AbortController().signal,
      now: () => Date.parse("2026-01-02T03:09:06Z"),
      confirm: () => Promise.resolve(undefined),
      ...change,
    };
    run.code = await runCli(["--home", this.home, ...line.split(" ").filter((word) => word !== "")], io);
    return run;
  }
}

/** Who types in the test that runs, and what they type at. */
export interface Here {
  readonly person: Person;
  readonly home: string;
  readonly api: Served;
  readonly cloud: FakeCloud;
  readonly cli: (line: string, change?: Partial<Io>) => Promise<Run>;
}

/** Both are made anew for each test of the file that calls this, and are gone after it. */
export function personEach(): Here {
  let api: Served;
  let person: Person;
  beforeEach(async () => {
    api = await served();
    person = new Person(api.endpoint, fakeToken);
  });
  afterEach(async () => {
    await api[Symbol.asyncDispose]();
    person.leave();
  });
  return {
    get person() {
      return person;
    },
    get home() {
      return person.home;
    },
    get api() {
      return api;
    },
    get cloud() {
      return api.cloud;
    },
    cli: (line, change) => person.cli(line, change),
  };
}
