import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failure, failureKinds, type FailureCode } from "../../core/failure-codes.ts";
import { Failure } from "../../lib/errors.ts";
import { Refusal, cvmErrorCodes } from "./error-codes.ts";
import { actionsDocument } from "./actions-doc.ts";
import { errorsDocument } from "./errors-doc.ts";
import { cvmCodeOf, refusalOf } from "./failure-mapping.ts";

const codes = Object.keys(failureKinds) as FailureCode[];

describe("failures", () => {
  it("each have a code that exists", () => {
    for (const code of codes) {
      const entry = cvmCodeOf[code];
      const targets = typeof entry === "string" ? [entry] : [...Object.values(entry.of), entry.otherwise];
      for (const target of targets) expect(cvmErrorCodes).toHaveProperty([target]);
    }
  });

  it("are told apart by their detail", () => {
    const codeOf = (code: FailureCode, detail: Record<string, unknown>): string =>
      refusalOf(failure(code, "why", { detail })).code;
    expect(codeOf("WrongState", { state: "STOPPED" })).toBe("UnsupportedOperation.InstanceStateStopped");
    expect(codeOf("WrongState", { state: "constructor" })).toBe("UnsupportedOperation");
    expect(codeOf("InsufficientCapacity", { reason: "group" })).toBe(
      "ResourceInsufficient.DisasterRecoverGroupCvmQuota",
    );
    expect(codeOf("InsufficientCapacity", {})).toBe("ResourceInsufficient.SpecifiedInstanceType");
  });

  it("keep their message unless it is about our inside", () => {
    expect(refusalOf(failure("Protected", "ins-1 is protected")).message).toBe("ins-1 is protected");
    expect(refusalOf(failure("Internal", "row 7 is odd")).message).not.toContain("row 7");
    expect(refusalOf(new Failure("conflict", "SomethingNew", "secret"))).toMatchObject({ code: "InternalError" });
    expect(refusalOf(new Failure("conflict", "SomethingNew", "secret")).message).not.toContain("secret");
    expect(refusalOf("text").code).toBe("InternalError");
  });

  it("leave a refusal as it is", () => {
    const refusal = new Refusal("InvalidFilter", "no such filter");
    expect(refusalOf(refusal)).toBe(refusal);
  });
});

it("no code is in the table that nobody answers with", () => {
  const sources = readdirSync(import.meta.dirname, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "error-codes.ts")
    .map((name) => readFileSync(join(import.meta.dirname, name), "utf8"))
    .join("\n");
  expect(Object.keys(cvmErrorCodes).filter((code) => !sources.includes(`"${code}"`))).toEqual([]);
});

it.each([
  ["errors-cvm.md", "errors-doc.ts", errorsDocument],
  ["cvm-actions.md", "actions-doc.ts", actionsDocument],
])("docs/%s is what src/vstation/cvm/%s writes", (file, _, written) => {
  expect(readFileSync(join(import.meta.dirname, "../../../docs", file), "utf8")).toBe(written());
});
