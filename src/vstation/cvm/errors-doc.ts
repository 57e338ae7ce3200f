/**
 * Writes docs/errors-cvm.md from the tables: `node src/vstation/cvm/errors-doc.ts > docs/errors-cvm.md`.
 * A test fails when the file is behind.
 */
import { failureKinds, type FailureCode } from "../../core/failure-codes.ts";
import { cvmErrorCodes, type CvmCode } from "./error-codes.ts";
import { cvmCodeOf } from "./failure-mapping.ts";
import { services, type Service } from "./known-actions/known-actions.ts";

const sourceOf = (source: "common" | Service): string => (source === "common" ? "API layer" : services[source].title);

/** The whole file, with its last newline. */
export function errorsDocument(): string {
  return `# Error codes of the CVM API

Written by \`node src/vstation/cvm/errors-doc.ts\`; change the tables beside it, not this file.

An error is \`{"Response": {"Error": {"Code", "Message"}, "RequestId"}}\` with HTTP status 200. Clients match \`Code\`; \`Message\` is
for people and may change. "API layer" codes are the
[common ones](https://www.tencentcloud.com/document/product/213/33281#common-error-codes) of Tencent Cloud API 3.0, the others are
constants of the official Go SDK for that service. A request that is answered with an error has changed nothing, with one exception: after
\`InternalError\` the outcome may be unknown; send the same \`ClientToken\` again, or read first.

## Codes

| code | of | meaning here |
|---|---|---|
${rows(Object.entries(cvmErrorCodes).map(([code, [source, meaning]]) => [`\`${code}\``, sourceOf(source), meaning]))}

## From a failure to a code

What the use cases throw (\`src/core/failure-codes.ts\`), as the native API names it, and what CVM clients see.

| failure | kind | code |
|---|---|---|
${rows((Object.keys(failureKinds) as FailureCode[]).map((failure) => [`\`${failure}\``, failureKinds[failure], codesOf(failure)]))}
`;
}

function codesOf(failure: FailureCode): string {
  const entry = cvmCodeOf[failure];
  if (typeof entry === "string") return `\`${entry}\``;
  const cases = Object.entries(entry.of).map(([key, code]: [string, CvmCode]) => `${key}: \`${code}\``);
  return `by ${entry.by}: ${[...cases, `else \`${entry.otherwise}\``].join("; ")}`;
}

function rows(cells: string[][]): string {
  return cells.map((row) => `| ${row.join(" | ")} |`).join("\n");
}

if (import.meta.main) process.stdout.write(errorsDocument());
