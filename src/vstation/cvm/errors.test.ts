import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { failure, failureKinds, type FailureCode } from "../../core/failure-codes.ts";
import { Failure } from "../../lib/errors.ts";
import { Refusal, cvmErrorCodes } from "./error-codes.ts";
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
    const codeOf = (code: FailureCode, detail: Record<string, unknown>, action = "RunInstances"): string =>
      refusalOf(failure(code, "why", { detail }), action).code;
    expect(codeOf("WrongState", { state: "STOPPED" })).toBe("UnsupportedOperation.InstanceStateStopped");
    expect(codeOf("WrongState", { state: "constructor" })).toBe("UnsupportedOperation");
    expect(codeOf("InsufficientCapacity", { reason: "group" })).toBe(
      "ResourceInsufficient.DisasterRecoverGroupCvmQuota",
    );
    expect(codeOf("InsufficientCapacity", {})).toBe("ResourceInsufficient.SpecifiedInstanceType");
    expect(codeOf("NameTaken", {}, "ImportKeyPair")).toBe("InvalidKeyPairName.Duplicate");
    expect(codeOf("NameTaken", {}, "CreateDisasterRecoverGroup")).toBe("InvalidParameterValue.Duplicate");
  });

  it("keep their message unless it is about our inside", () => {
    expect(refusalOf(failure("Protected", "ins-1 is protected"), "x").message).toBe("ins-1 is protected");
    expect(refusalOf(failure("Internal", "row 7 is odd"), "x").message).not.toContain("row 7");
    expect(refusalOf(new Failure("conflict", "SomethingNew", "secret"), "x")).toMatchObject({ code: "InternalError" });
    expect(refusalOf(new Failure("conflict", "SomethingNew", "secret"), "x").message).not.toContain("secret");
    expect(refusalOf("text", "x").code).toBe("InternalError");
  });

  it("leave a refusal as it is", () => {
    const refusal = new Refusal("InvalidFilter", "no such filter");
    expect(refusalOf(refusal, "x")).toBe(refusal);
  });
});

it("no code is in the table that nobody answers with", () => {
  const sources = readdirSync(import.meta.dirname)
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts") && name !== "error-codes.ts")
    .map((name) => readFileSync(join(import.meta.dirname, name), "utf8"))
    .join("\n");
  expect(Object.keys(cvmErrorCodes).filter((code) => !sources.includes(`"${code}"`))).toEqual([]);
});

it("docs/errors-cvm.md is current: node src/vstation/cvm/errors-doc.ts > docs/errors-cvm.md", () => {
  expect(readFileSync(join(import.meta.dirname, "../../../docs/errors-cvm.md"), "utf8")).toBe(errorsDocument());
});
