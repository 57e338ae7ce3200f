/**
 * A test that reads the repository: the rules of the house that no compiler knows. A remark made twice in reviews becomes a
 * rule here, with its reason.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { stripTypeScriptTypes } from "node:module";
import { dirname, join, normalize } from "node:path";
import { parse } from "acorn";
import { simple } from "acorn-walk";
import { describe, expect, it } from "vitest";

/** It spells out what the others must not hold. */
const thisFile = "test/repository/repository.test.ts";

const root = join(import.meta.dirname, "../..");

/** Tracked files and new ones that git does not ignore: what a commit could hold. */
const files = execFileSync("git", ["ls-files", "--cached", "--others", "--exclude-standard"], { cwd: root })
  .toString()
  .split("\n")
  .filter((name) => name !== "" && name !== "package-lock.json" && name !== "LICENSE");

function read(name: string): string | undefined {
  try {
    return readFileSync(join(root, name), "utf8");
  } catch {
    return undefined; // deleted in the work tree, still in the index
  }
}

const sources = files.filter((name) => /\.(ts|mjs)$/.test(name));

/** What only tests use: themselves, and what stands in for something in them. */
const isOfTests = (name: string): boolean => /\.(test|fake)\.ts$/.test(name);

/** Left may be imported by right. `test` folders and files may import anything. */
const mayImport: Record<string, readonly string[]> = {
  "src/lib": [],
  "src/core": ["src/lib"],
  "src/api": ["src/core", "src/lib"],
  "src/libvirt": ["src/lib"],
  "src/compute": ["src/libvirt", "src/api", "src/core", "src/lib"],
  "src/vstation": ["src/api", "src/core", "src/lib"],
  "src/sim": ["src/api", "src/core", "src/lib"],
  "src/cli": ["src/api", "src/core", "src/lib"],
  guest: ["src/core", "src/lib"],
  lab: ["src/api", "src/core", "src/lib", "src/compute/config.ts", "src/vstation/config.ts", "guest"],
  // A benchmark of Compute alone lays out the very host that its tests run on, rather than another one that may differ.
  bench: ["lab", "guest", "src", "test/real/support", "test/until.ts"],
};

function partOf(name: string): string | undefined {
  return Object.keys(mayImport).find((part) => name === part || name.startsWith(`${part}/`));
}

function importsOf(name: string): string[] {
  const text = read(name) ?? "";
  return [...text.matchAll(/^(?:import|export)\b[^;]*?from\s+"(\.[^"]+)"/gms)].map((match) =>
    normalize(join(dirname(name), match[1] ?? "")),
  );
}

describe("import direction", () => {
  it("follows the folders", () => {
    const wrong: string[] = [];
    for (const name of sources.filter((source) => !isOfTests(source))) {
      const part = partOf(name);
      if (part === undefined) continue;
      for (const target of importsOf(name)) {
        if (target.startsWith(`${part}/`)) continue;
        const allowed = (mayImport[part] ?? []).some((other) => target === other || target.startsWith(`${other}/`));
        if (!allowed) wrong.push(`${name} imports ${target}`);
      }
    }
    expect(wrong).toEqual([]);
  });

  it("leads to what only tests use from tests alone", () => {
    const programs = sources.filter((name) => partOf(name)?.startsWith("src/") === true && !isOfTests(name));
    expect(programs.filter((name) => importsOf(name).some(isOfTests))).toEqual([]);
  });

  it("keeps src/core pure: no I/O, no clock, no randomness", () => {
    const impure = /from "node:(?!util)|Date\.now\(|new Date\(\)|Math\.random|performance\.now|process\./;
    const wrong = sources.filter(
      (name) => name.startsWith("src/core/") && !name.endsWith(".test.ts") && impure.test(read(name) ?? ""),
    );
    expect(wrong).toEqual([]);
  });

  it("keeps SQL under src/vstation/store", () => {
    const wrong = sources.filter(
      (name) =>
        name.startsWith("src/vstation/") &&
        !name.startsWith("src/vstation/store/") &&
        !name.endsWith(".test.ts") &&
        /from "(pg|kysely)"/.test((read(name) ?? "").replace(/^import type .*$/gm, "")),
    );
    expect(wrong).toEqual([]);
  });
});

it("say in words what a text must look like: without them people are shown a regular expression", () => {
  const wordless: string[] = [];
  for (const name of sources.filter(
    (source) => source.startsWith("src/") && (read(source) ?? "").includes(".regex("),
  )) {
    simple(parse(stripTypeScriptTypes(read(name) ?? ""), { ecmaVersion: "latest", sourceType: "module" }), {
      CallExpression: ({ callee, arguments: given }) => {
        if (callee.type !== "MemberExpression" || callee.property.type !== "Identifier") return;
        if (callee.property.name === "regex" && given.length < 2) wordless.push(name);
      },
    });
  }
  expect(wordless).toEqual([]);
});

describe("the files", () => {
  it("stay below 500 lines, tables and generated ones aside", () => {
    const long = sources
      .filter((name) => !/\.gen\.ts$|\/protocol\//.test(name))
      .map((name) => ({ name, lines: (read(name) ?? "").split("\n").length }))
      .filter(({ lines }) => lines > 500);
    expect(long).toEqual([]);
  });

  it("open with a head that says what they are", () => {
    const headless = sources.filter((name) => {
      const text = read(name)?.replace(/^#!.*\n/, "");
      return (
        text !== undefined && !/^(\/\*\*|\/\/)/.test(text) && !name.endsWith(".config.ts") && !name.endsWith(".test.ts")
      );
    });
    expect(headless).toEqual([]);
  });

  it("hold no work left for later, no switched-off test, no silenced type", () => {
    const odd =
      /\bTODO\b|\bFIXME\b|\bXXX\b|@ts-(ignore|nocheck)|\b(it|describe|test)\.(only|todo)\(|catch ?(\([^)]*\))? ?\{ ?\}/;
    const wrong = sources.filter((name) => name !== thisFile && odd.test(read(name) ?? ""));
    expect(wrong).toEqual([]);
  });

  it("name no place on the machine they were written on", () => {
    const place = /(?<![\w})])\/(root|work)\/(?!\.ssh)|nodesource/;
    const wrong = files.filter(
      (name) => /\.(ts|mjs|md|sh|json|c)$/.test(name) && name !== thisFile && place.test(read(name) ?? ""),
    );
    expect(wrong).toEqual([]);
  });
});

describe("dependencies", () => {
  it("are pinned exactly", () => {
    const manifest = JSON.parse(read("package.json") ?? "{}") as Record<
      "dependencies" | "devDependencies",
      Record<string, string>
    >;
    const loose = Object.entries({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      ([, version]) => !/^\d+\.\d+\.\d+$/.test(version),
    );
    expect(loose).toEqual([]);
  });

  it("each have a decision that says why", () => {
    const manifest = JSON.parse(read("package.json") ?? "{}") as Record<
      "dependencies" | "devDependencies",
      Record<string, string>
    >;
    const decision = read("docs/decisions/0002-dependencies.md") ?? "";
    const unexplained = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies }).filter(
      (name) => !decision.includes(`\`${name}\``),
    );
    expect(unexplained).toEqual([]);
  });
});

describe("documents", () => {
  const links = files
    .filter((name) => name.endsWith(".md"))
    .flatMap((name) =>
      [...(read(name) ?? "").matchAll(/\[([^\]]*)\]\((?!https?:|#)([^)#\s]+)/g)].map(([, words = "", to = ""]) => ({
        from: name,
        words: words.replaceAll(/\s+/g, " "),
        to: normalize(join(dirname(name), to)),
      })),
    );

  it("link to what is there", () => {
    expect(links.length).toBeGreaterThan(20);
    expect(links.filter(({ to }) => !existsSync(join(root, to)))).toEqual([]);
  });

  it("call a decision by its number", () => {
    const wrong = links.filter(({ words, to }) => {
      const called = /^decision (\d+)$/.exec(words)?.[1];
      return called !== undefined && Number(/decisions\/(\d+)/.exec(to)?.[1]) !== Number(called);
    });
    expect(wrong).toEqual([]);
  });
});
