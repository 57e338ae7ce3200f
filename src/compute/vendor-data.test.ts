/** The vendor data's form, and its boot hook as far as a parser can show it. What it did was tried with the code of cloud-init 22.4.2. */
import { execFileSync } from "node:child_process";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { vendorData } from "./vendor-data.ts";

const login = { user: null, passwordHash: "$6$salt$hash" };

function partsOf(text: string): string[] {
  return text
    .split(/^--vstation-vendor-data(?:--)?$/m)
    .slice(1)
    .map((part) => part.trim());
}

describe("vendor data", () => {
  it("is a boot hook for every boot, and with a password a configuration for the first one", () => {
    expect(partsOf(vendorData(["ssh-ed25519 AAAA a"], null))).toHaveLength(2);
    const [hook, config, end] = partsOf(vendorData([], login));
    expect(hook).toMatch(/^Content-Type: text\/cloud-boothook.*\n[^\n]*\n\n#cloud-boothook\n#!\/bin\/sh\n/);
    expect(config).toMatch(/^Content-Type: text\/cloud-config.*\n[^\n]*\n\n#cloud-config\n/);
    expect(JSON.parse(config?.split("#cloud-config\n")[1] ?? "")).toEqual({
      ssh_pwauth: true,
      password: "$6$salt$hash",
      chpasswd: { expire: false },
    });
    expect(end).toBe("");
    const [, named] = partsOf(vendorData([], { ...login, user: "root" }));
    expect(named).toContain('"chpasswd":{"expire":false,"list":["root:$6$salt$hash"]}');
  });

  it("holds whatever a key says in letters that neither shell nor Python nor MIME reads", () => {
    fc.assert(
      fc.property(fc.array(fc.string({ unit: "grapheme" }), { maxLength: 3 }), (keys) => {
        const [hook = ""] = partsOf(vendorData(keys, null));
        const data = /b64decode\("([A-Za-z0-9+/=]*)"\)/.exec(hook)?.[1] ?? "";
        expect(JSON.parse(Buffer.from(data, "base64").toString())).toEqual({
          keys: keys.map((key) => key.trim()),
          login: null,
        });
        expect(hook.replace(data, "")).toBe(
          (partsOf(vendorData([], null))[0] ?? "").replace(/(?<=b64decode\(")[^"]*/, ""),
        );
      }),
    );
  });

  it("has a hook that Python can read", () => {
    const [hook = ""] = partsOf(vendorData(["ssh-ed25519 AAAA a"], login));
    const script = hook.split("<<'END'\n")[1]?.split("\nEND")[0] ?? "";
    expect(
      execFileSync("python3", ["-c", "import ast, sys; print(type(ast.parse(sys.stdin.read())).__name__)"], {
        input: script,
      }).toString(),
    ).toBe("Module\n");
  });
});
