/** For tests: somebody with a home who types command lines for an endpoint, and what is printed. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
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
