/**
 * `npm run bench -- NAME [--quick] [--json]`: runs one benchmark and prints its report.
 *
 * The rival and the floor run in the same call as what they are compared with. With `--json` the last line is one JSON object
 * {bench, machine, params, results, baseline, ratio, noise}. Progress goes to standard error. A guest that was lost makes the exit status 1.
 */
import { parseArgs } from "node:util";
import { onInterrupt } from "../lab/interrupt.ts";
import { formatError } from "../src/lib/errors.ts";
import type { Bench } from "./bench.ts";
import { delivery } from "./delivery/delivery.ts";
import { machine as machineBench } from "./machine/machine.ts";
import { classNames } from "./migration/classes.ts";
import { migration } from "./migration/migration.ts";
import { kinds, pinnedKinds } from "./migration/rows.ts";
import { asJson, asTable, machineOf } from "./report.ts";

const benches: readonly Bench[] = [delivery, machineBench, migration];

const usage = `usage: npm run bench -- NAME [--quick] [--json] [--home DIR] [--n N] [--class C] [--only K] [--pin]

${benches.map(({ name, about }) => `  ${name.padEnd(12)} ${about}`).join("\n")}

--quick    fewer and smaller cases, no figures to quote (delivery, migration: within 60 s on two cores)
--json     the last line of the output is one JSON object
--home     measure in this running lab instead of one of the bench's own
--n        so many rounds; migration goes on where an earlier run of as many was ended
--class    one class only (migration: ${classNames.join(", ")})
--only     one of what is compared only (migration: ${kinds.join(", ")}), for a long run of it
--pin      the guests' virtual processors have a core of their own, for brownout (migration: ${pinnedKinds.join(" and ")} alone take turns)
`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      quick: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      home: { type: "string" },
      n: { type: "string" },
      class: { type: "string" },
      only: { type: "string" },
      pin: { type: "boolean", default: false },
      help: { type: "boolean", default: false },
    },
  });
  const bench = benches.find(({ name }) => name === positionals[0]);
  const rounds = values.n === undefined ? undefined : Number(values.n);
  if (bench === undefined || values.help || !(rounds === undefined || (Number.isInteger(rounds) && rounds > 0))) {
    process.stderr.write(usage);
    return values.help ? 0 : 2;
  }
  const stop = new AbortController();
  onInterrupt((name) => stop.abort(new Error(`ended by ${name}`)));
  const machine = machineOf();
  const report = await bench.run({
    quick: values.quick,
    home: values.home,
    rounds,
    class: values.class,
    only: values.only,
    pin: values.pin,
    signal: stop.signal,
    say: (line) => process.stderr.write(`${line}\n`),
  });
  process.stdout.write(`${asTable(bench, machine, report)}\n`);
  if (values.json) process.stdout.write(`${asJson(bench, machine, report)}\n`);
  return (report.vmLost ?? 0) > 0 ? 1 : 0;
}

try {
  process.exitCode = await main();
} catch (error) {
  process.stderr.write(`${formatError(error)}\n`);
  process.exitCode = 1;
}
