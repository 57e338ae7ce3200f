import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { bashScript } from "./commands/completion.ts";
import type { Io } from "./io.ts";
import { buildProgram } from "./program.ts";

const io = { out: () => undefined, err: () => undefined, env: {}, signal: new AbortController().signal };
const script = bashScript(buildProgram(io as unknown as Io));

/** What bash would offer behind these words; the program itself is replaced by one that tells what it was asked. */
function offered(line: string): string[] {
  const words = line.split(" ");
  const test = `vstation() { local all="$*"; echo "asked-\${all//[^a-z]/-}"; }
    COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}
    _vstation; printf '%s\\n' "\${COMPREPLY[@]}"`;
  const run = spawnSync("bash", ["--norc", "-uc", `${script}\n${test}`]);
  expect(run.stderr.toString()).toBe("");
  return run.stdout.toString().trim().split("\n");
}

describe("completion in bash", () => {
  it("offers commands, by alias too", () => {
    expect(offered("vstation ins")).toEqual(["instance"]);
    expect(offered("vstation instance st")).toEqual(["start", "stop"]);
    expect(offered("vstation i cons")).toEqual(["console"]);
    expect(offered("vstation completion ")).not.toContain("names");
  });

  it("offers options of the command and everywhere", () => {
    expect(offered("vstation instance run --user")).toEqual(["--user-data"]);
    expect(offered("vstation instance stop web --js")).toEqual(["--json"]);
    expect(offered("vstation --home /x instance stop --ha")).toEqual(["--hard"]);
  });

  it("asks for names where an id or a name stands", () => {
    expect(offered("vstation instance show a")).toEqual(["asked-completion-names-instance"]);
    expect(offered("vstation host show a")).toEqual(["asked-completion-names-host"]);
    expect(offered("vstation instance run --key a")).toEqual(["asked-completion-names-key"]);
    expect(offered("vstation subnet delete a")).toEqual(["asked-completion-names-subnet"]);
    expect(offered("vstation subnet set web --route-table a")).toEqual(["asked-completion-names-route-table"]);
    expect(offered("vstation --home h instance stop a")).toEqual(["asked---home-h-completion-names-instance"]);
  });

  it("offers nothing where only the person knows", () => {
    expect(offered("vstation instance run --count ")).toEqual([""]);
    expect(offered("vstation instance run --disk ")).toEqual([""]);
    expect(offered("vstation nonsense ")).toEqual([""]);
  });
});
