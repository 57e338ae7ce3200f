/** Compute: one process per host. `node src/compute/main.ts --config FILE`. */
import { parseArgs } from "node:util";
import { loadConfig } from "../lib/config.ts";
import { createLog } from "../lib/log.ts";
import { notifyReady } from "../lib/systemd.ts";
import { startAgent } from "./agent.ts";
import { computeConfigSchema } from "./config.ts";

const { values } = parseArgs({ options: { config: { type: "string" } } });
if (values.config === undefined) {
  process.stderr.write("usage: node src/compute/main.ts --config FILE\n");
  process.exit(2);
}
const config = loadConfig(values.config, computeConfigSchema);
const log = createLog("compute", { host: config.name });

try {
  const agent = await startAgent(config, log);
  const quiet = notifyReady();
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.once(signal, () => {
      log.info({ signal }, "ending; guests run on");
      quiet();
      agent.stop().then(
        () => process.exit(0),
        (error: unknown) => {
          log.error({ err: error }, "could not end in order");
          process.exit(1);
        },
      );
    });
  }
} catch (error) {
  log.fatal({ err: error }, "Compute could not start");
  process.exitCode = 1;
  setImmediate(() => process.exit());
}
