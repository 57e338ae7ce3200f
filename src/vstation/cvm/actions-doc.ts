/**
 * Writes docs/cvm-actions.md from the actions' own schemas: `node src/vstation/cvm/actions-doc.ts > docs/cvm-actions.md`.
 * A test fails when the file is behind.
 */
import * as z from "zod";
import type { Action } from "./action.ts";
import { offered } from "./actions.ts";
import { services, type Service } from "./known-actions/known-actions.ts";
import { decisionOf } from "./parameters.ts";

interface Parameters {
  offered: string[];
  ignored: string[];
  refused: string[];
}

/** The whole file, with its last newline. */
export function actionsDocument(): string {
  const all = Object.keys(services) as Service[];
  return `# Actions of the CVM API

Written by \`node src/vstation/cvm/actions-doc.ts\`; change the actions beside it, not this file.

Offered are ${all.map(share).join(", ")}: what clients of CVM need. Every parameter that the official SDK documents for them is decided:
*offered*; *ignored*, because nothing that anyone relies on depends on it; or *refused* with the code in brackets (see
[errors-cvm.md](errors-cvm.md)) when it asks for something, because ignoring it would lie. A refused parameter may be there with
a value that asks for nothing: \`""\`, \`0\`, \`false\`, \`[]\`. Other parameters are \`UnknownParameter\`.

Clients use \`POST /\` with JSON or \`GET /\` with flattened parameters, signed with TC3-HMAC-SHA256, \`X-TC-Version\` of the service and
\`X-TC-Region\` as configured. Service host names are free: the action's name says which service is meant.

${all.map(chapter).join("\n\n")}
`;
}

function share(service: Service): string {
  const { title, version, actions } = services[service];
  return `${offered[service].length} of the ${actions.length} actions of ${title} ${version}`;
}

function chapter(service: Service): string {
  const { title, version, actions } = services[service];
  const names = new Set<string>(offered[service].map((action) => action.name));
  const others = actions.filter((name) => !names.has(name));
  return [
    `## ${title} ${version}`,
    ...offered[service].map(section),
    `### Not offered of ${title}`,
    `\`UnsupportedOperation\`: ${others.join(", ")}.`,
  ].join("\n\n");
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
  return [`### ${action.name}`, "", ...(told.length > 0 ? told : ["No parameters."])].join("\n");
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
