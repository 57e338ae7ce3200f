/**
 * Writes docs/cvm-actions.md from the actions' own schemas: `node src/vstation/cvm/actions-doc.ts > docs/cvm-actions.md`.
 * A test fails when the file is behind.
 */
import * as z from "zod";
import type { Action } from "./action.ts";
import { actions } from "./actions.ts";
import { knownActions } from "./known-actions.ts";
import { decisionOf } from "./parameters.ts";

interface Parameters {
  offered: string[];
  ignored: string[];
  refused: string[];
}

/** The whole file, with its last newline. */
export function actionsDocument(): string {
  const names = new Set<string>(actions.map((action) => action.name));
  const others = knownActions.filter((name) => !names.has(name));
  return `# Actions of the CVM API

Written by \`node src/vstation/cvm/actions-doc.ts\`; change the actions beside it, not this file.

${actions.length} of the ${knownActions.length} actions of CVM 2017-03-12 are offered. Every parameter that the official SDK documents for them is decided:
*offered*; *ignored*, because nothing that anyone relies on depends on it; or *refused* with the code in brackets (see
[errors-cvm.md](errors-cvm.md)) when it asks for something, because ignoring it would lie. A refused parameter may be there with
a value that asks for nothing: \`""\`, \`0\`, \`false\`, \`[]\`. Other parameters are \`UnknownParameter\`.

Clients use \`POST /\` with JSON or \`GET /\` with flattened parameters, signed with TC3-HMAC-SHA256, \`X-TC-Version: 2017-03-12\` and
\`X-TC-Region\` as configured.

${actions.map(section).join("\n\n")}

## Not offered

\`UnsupportedOperation\`: ${others.join(", ")}.
`;
}

function section(action: Action): string {
  const parameters: Parameters = { offered: [], ignored: [], refused: [] };
  collect(action.parameters, "", parameters);
  const lines = [
    ["Offered", parameters.offered],
    ["Ignored", parameters.ignored],
    ["Refused", parameters.refused],
  ] as const;
  const told = lines.filter(([, names]) => names.length > 0).map(([title, names]) => `- ${title}: ${names.join(", ")}`);
  return [`## ${action.name}`, "", ...(told.length > 0 ? told : ["No parameters."])].join("\n");
}

function collect(structure: z.ZodObject, path: string, into: Parameters): void {
  for (const [name, schema] of Object.entries(structure.shape)) {
    const decision = decisionOf(schema);
    const inner = bare(schema);
    if (decision?.is === "ignored") into.ignored.push(`\`${path}${name}\``);
    else if (decision?.is === "refused") into.refused.push(`\`${path}${name}\` (${decision.code})`);
    else if (inner instanceof z.ZodObject) collect(inner, `${path}${name}.`, into);
    else into.offered.push(`\`${path}${name}\``);
  }
}

/** Without the wrappers that say that it may be absent. */
function bare(schema: z.core.$ZodType): z.core.$ZodType {
  return schema instanceof z.ZodOptional || schema instanceof z.ZodDefault ? bare(schema.unwrap()) : schema;
}

if (import.meta.main) process.stdout.write(actionsDocument());
