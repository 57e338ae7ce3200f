/**
 * `node src/vstation/main.ts --config FILE`: one VStation process. It writes the credentials file once it serves; SIGTERM or SIGINT
 * ends it cleanly. Everything it knows is in PostgreSQL, so a hard kill loses nothing but time.
 */
import { parseArgs } from "node:util";
import { isNativePath } from "../api/native/routes.ts";
import { loadConfig } from "../lib/config.ts";
import { formatError } from "../lib/errors.ts";
import { createLog, type Log } from "../lib/log.ts";
import { notifyReady } from "../lib/systemd.ts";
import { vstationConfigSchema, type VStationConfig } from "./config.ts";
import { writeCredentials } from "./credentials.ts";
import { createCvmHandler, cvmServerOptions } from "./cvm/handler.ts";
import { startEngine } from "./engine.ts";
import { answerHere, checkListen, listenPublic, type Handlers } from "./http.ts";
import { createMetrics } from "./metrics.ts";
import { createNativeUpgrade } from "./native/console.ts";
import { createNativeHandler } from "./native/handler.ts";

/** A clean end that takes longer than this is no clean end. */
const endMs = 15_000;

async function start(config: VStationConfig, log: Log): Promise<() => Promise<void>> {
  checkListen(config.listen);
  const metrics = createMetrics(log);
  const engine = await startEngine(config, log, metrics);
  const { cloud } = engine;
  const closing = new AbortController();
  const { audit, account } = engine;
  const native = { log, metrics: metrics.registry, account, audit, closing: closing.signal };
  const { region, zone } = config;
  const handlers: Handlers = {
    native: createNativeHandler(cloud, native),
    upgrade: createNativeUpgrade(cloud, native),
    isNative: isNativePath,
    cvm: createCvmHandler(cloud, {
      region,
      zones: [zone],
      log,
      now: () => new Date(),
      onCall: metrics.cvmCall,
      audit,
    }),
    passOn: (request, response) => engine.passOn.take(request, response),
  };
  engine.answerPassed((request, response) => answerHere(handlers, request, response));
  const listener = await listenPublic(config.listen, cvmServerOptions, handlers);
  const { secretId, secretKey, operatorToken: nativeToken } = engine.secrets;
  await writeCredentials(config.credentialsFile, {
    endpoint: listener.url,
    secretId,
    secretKey,
    region,
    zone,
    nativeEndpoint: listener.url,
    nativeToken,
  });
  log.info(
    { url: listener.url, agentPort: engine.agentPort, caFingerprint: engine.caFingerprint },
    "VStation is ready",
  );
  return async () => {
    closing.abort();
    await listener.close();
    await engine.close();
    metrics.close();
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { config: { type: "string" } } });
  if (values.config === undefined) throw new Error("usage: main.ts --config FILE");
  const config = loadConfig(values.config, vstationConfigSchema);
  const log = createLog("vstation");
  const close = await start(config, log);
  notifyReady();
  let ending = false;
  const end = (signal: string): void => {
    if (ending) return;
    ending = true;
    log.info({ signal }, "ending");
    setTimeout(() => {
      log.error("did not end in time");
      process.exit(1);
    }, endMs).unref();
    close().then(
      () => process.exit(0),
      (error: unknown) => {
        log.error({ err: error }, "the end was not clean");
        process.exit(1);
      },
    );
  };
  process.on("SIGTERM", () => end("SIGTERM"));
  process.on("SIGINT", () => end("SIGINT"));
}

main().catch((error: unknown) => {
  process.stderr.write(`vstation: ${formatError(error)}\n`);
  process.exit(1);
});
