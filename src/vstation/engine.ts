/**
 * One VStation process put together: store, leases, placement, reconcilers, the listener for hosts, and the use cases on top.
 *
 * All replicas serve the APIs and hosts; the one that holds the zone's lease also places and reconciles. Commits of this process
 * reach its parts directly, those of other replicas through LISTEN; when that connection was lost everything is read again.
 */
import { randomUUID } from "node:crypto";
import type { IncomingMessage, ServerResponse } from "node:http";
import { formatError } from "../lib/errors.ts";
import type { AccountId } from "../lib/ids.ts";
import type { Log } from "../lib/log.ts";
import { backoff, sleep } from "../lib/retry.ts";
import { tokenHash } from "./agents/join.ts";
import { AgentListener } from "./agents/listener.ts";
import { Pki } from "./agents/pki.ts";
import { SeenWriter } from "./agents/seen-writer.ts";
import { ImagesFromHosts } from "./images/from-host.ts";
import { Importer } from "./images/importer.ts";
import { createCloud } from "./app/create-cloud.ts";
import { EventTail } from "./app/event-tail.ts";
import { ImageFolder } from "./app/image-folder.ts";
import { migrationTry } from "./app/instance-migrate.ts";
import { imageHome } from "./app/image-home.ts";
import { Audit, type AuditWriter } from "./audit.ts";
import type { Cloud } from "./cloud.ts";
import type { VStationConfig } from "./config.ts";
import type { EngineMetrics } from "./metrics.ts";
import { Lease } from "./placement/lease.ts";
import { Placer } from "./placement/placer.ts";
import { Reconciler } from "./reconciler/reconciler.ts";
import { Keyring } from "./keyring.ts";
import { PassOn } from "./pass-on.ts";
import { anySealed } from "./store/access-keys.ts";
import { auditForget } from "./store/audit.ts";
import { migrationQueue } from "./reconciler/migration-queue.ts";
import { migrationReconciler } from "./reconciler/migrations.ts";
import type { Nudged } from "./reconciler/nudged.ts";
import { storageReconciler } from "./reconciler/storage.ts";
import { accountBootstrap, type Bootstrap } from "./store/accounts.ts";
import { isAway, logRetry, Store } from "./store/database.ts";
import { clientTokensForget } from "./store/client-tokens.ts";
import { eventsForget } from "./store/events.ts";
import { anyHostJoined, hostsSilent } from "./store/hosts.ts";
import { jobsForget } from "./store/jobs.ts";
import { joinTokenEnsure } from "./store/join-tokens.ts";
import { Listener } from "./store/listener.ts";
import { migrate } from "./store/migrate.ts";
import { networkSeed } from "./store/network-seed.ts";
import type { SeenOutcome } from "./store/seen.ts";
import type { Wake } from "./store/wake.ts";
import { zoneEnsure } from "./store/zone.ts";

export interface Engine {
  cloud: Cloud;
  audit: AuditWriter;
  account: AccountId;
  secrets: Bootstrap;
  agentPort: number;
  caFingerprint: string;
  passOn: PassOn;
  /** Who answers what other replicas pass on. */
  answerPassed(handler: (request: IncomingMessage, response: ServerResponse) => void): void;
  close(): Promise<void>;
}

const silentEveryMs = 5_000;
const verifyEveryMs = 60_000;
const forgetEveryMs = 3_600_000;
/** How long events can be read again, and a client token gets its first answer. */
const forgetDays = 14;
const auditDays = { changes: 365, reads: 14 };

export async function startEngine(config: VStationConfig, log: Log, metrics: EngineMetrics): Promise<Engine> {
  const replica = randomUUID();
  const store = new Store({ database: config.database, replica, log });
  await whenDatabaseIsThere(log, async () => {
    await migrate(store, log);
    await zoneEnsure(store, config.zone);
    for (const { token, name, lifetimeSeconds } of config.joinTokens) {
      await joinTokenEnsure(store, tokenHash(token), name, lifetimeSeconds);
    }
  });
  await imageHome(store, config.zone, config.imageDir);
  // What is sealed says that a VStation was here: CA and key are made together before that, or brought from where it is.
  const isFirst = !(await anySealed(store));
  const pki = await Pki.open(config.pkiDir, isFirst && !(await anyHostJoined(store)));
  const keyring = await Keyring.open(config.pkiDir, isFirst);
  const secrets = await accountBootstrap(store, keyring);
  await networkSeed(store, secrets.accountId, config);
  const seen = new SeenWriter(store, log, (outcome) => countSeen(metrics, log, outcome));
  const folder = new ImageFolder(config.imageDir, log);
  let importer: Importer | undefined;
  const onWhole = (): void => importer?.nudge();
  const incoming = new ImagesFromHosts({ store, directory: folder.directory, limits: config.imports, onWhole });
  const agents = await AgentListener.start({ store, pki, config, log, seen, images: folder, incoming });
  const events = new EventTail(store, log);
  const audit = new Audit(store, log, metrics.auditLost);
  let reconciler: Reconciler | undefined;
  let storage: Nudged | undefined;
  let moves: Nudged | undefined;
  let queue: Nudged | undefined;
  const placer = new Placer({
    store,
    zone: config.zone,
    log,
    onAccepted: (deadline) => reconciler?.at(deadline),
  });
  const refreshHosts = (): void => {
    placer.refreshHosts().catch((error: unknown) => logRetry(log, error, "reading hosts again failed"));
  };

  const wake = (announced: Wake): void => {
    agents.wake(announced);
    reconciler?.nudge(announced.instances);
    if (announced.events.size > 0) events.nudge();
    if (announced.capacity) refreshHosts();
    if (announced.storage) storage?.nudge();
    if (announced.migrations) moves?.nudge();
    if (announced.migrations || announced.capacity) queue?.nudge();
  };
  store.onCommit(wake);
  const listener = new Listener({
    database: config.database,
    replica,
    log,
    onWake: wake,
    onFresh: () => {
      agents.wakeAll();
      reconciler?.sweepAll();
      storage?.nudge();
      moves?.nudge();
      queue?.nudge();
      events.nudge();
      refreshHosts();
    },
  });

  const endings: Promise<void>[] = [];
  const lease = new Lease({
    store,
    database: config.database,
    zone: config.zone,
    address: `${config.agents.names[0] ?? config.agents.address}:${agents.port}`,
    log,
    onTaken: () => {
      placer.begin(lease);
      importer ??= new Importer({ store, folder, limits: config.imports, log });
      reconciler ??= new Reconciler({
        store,
        placer,
        zone: config.zone,
        log,
        onReconciled: (instances, seconds) => metrics.reconciled(instances, seconds),
      });
      storage ??= storageReconciler({ store, zone: config.zone, log });
      moves ??= migrationReconciler({ store, placer, zone: config.zone, log });
      const begin = migrationTry({ store, placer, config });
      queue ??= migrationQueue({ store, zone: config.zone, limits: config.migration.limits, log, begin });
    },
    onLost: () => {
      placer.end();
      if (reconciler !== undefined) endings.push(reconciler.close());
      if (storage !== undefined) endings.push(storage.close());
      if (moves !== undefined) endings.push(moves.close());
      if (queue !== undefined) endings.push(queue.close());
      if (importer !== undefined) endings.push(importer.close());
      importer = undefined;
      reconciler = undefined;
      storage = undefined;
      moves = undefined;
      queue = undefined;
    },
  });
  const housekeeping = [
    every(silentEveryMs, log, async () => {
      if (lease.epoch === undefined) return;
      const silent = await store.transaction((tx) => hostsSilent(tx));
      for (const hostId of silent) log.warn({ hostId }, "a host has not been heard of");
    }),
    every(verifyEveryMs, log, async () => {
      if (lease.epoch !== undefined && !(await placer.verify())) log.info("the placement projection was built anew");
    }),
    every(forgetEveryMs, log, async () => {
      await eventsForget(store, forgetDays);
      await clientTokensForget(store, forgetDays);
      await auditForget(store, config.auditDays ?? auditDays);
      await store.read((db) => jobsForget(db, forgetDays));
    }),
  ];
  metrics.gauge("vstation_connected_hosts", "Hosts connected to this process", () => agents.connected);
  metrics.gauge(
    "vstation_placement_epoch",
    "Epoch of the placement lease held by this process, 0 = none",
    () => lease.epoch ?? 0,
  );
  metrics.gauge("vstation_audit_waiting", "Lines of the log of calls that are not written yet", () => audit.waiting);
  metrics.gauge("vstation_placement_queue", "Requests that wait to be placed", () => placer.waiting);
  metrics.gauge(
    "vstation_reconciler_due",
    "Instances that the reconciler is to look at now",
    () => reconciler?.waiting ?? 0,
  );

  const cloud = createCloud({
    store,
    config,
    placer,
    agents,
    folder,
    imports: { nudge: () => importer?.nudge() },
    events,
    keyring,
    operatorToken: secrets.operatorToken,
    caPem: pki.caPem,
    log,
  });
  return {
    cloud,
    audit,
    account: secrets.accountId,
    secrets,
    agentPort: agents.port,
    caFingerprint: pki.fingerprint,
    passOn: new PassOn({
      store,
      zone: config.zone,
      log,
      places: () => lease.epoch !== undefined,
      identity: () => ({ ...agents.identity, ca: pki.caPem }),
    }),
    answerPassed(handler) {
      agents.onPassed = handler;
    },
    async close() {
      for (const timer of housekeeping) clearInterval(timer);
      await agents.close();
      await seen.close();
      placer.end();
      await Promise.all([
        reconciler?.close(),
        storage?.close(),
        moves?.close(),
        queue?.close(),
        importer?.close(),
        ...endings,
      ]);
      await lease.close();
      await Promise.all([listener.close(), events.close(), audit.close()]);
      await store.close();
    },
  };
}

/** The first contact with the database, retried for as long as it is away; anything else that fails ends the program. */
async function whenDatabaseIsThere(log: Log, work: () => Promise<void>): Promise<void> {
  for (let failures = 0; ; failures++) {
    try {
      return await work();
    } catch (error) {
      if (!isAway(error)) throw error;
      if (failures % 10 === 0) log.warn({ chain: formatError(error) }, "the database is out of reach; waiting for it");
      await sleep(backoff(failures, 50, 2_000));
    }
  }
}

function countSeen(metrics: EngineMetrics, log: Log, outcome: SeenOutcome): void {
  metrics.seen("taken", outcome.taken);
  metrics.seen("outdated", outcome.outdated);
  metrics.seen("stranger", outcome.strangers);
  metrics.seen("refused", outcome.refused.length);
  for (const { hostId, about } of outcome.refused) {
    log.error({ hostId, about }, "refused what a host said about what is not its own");
  }
}

function every(ms: number, log: Log, work: () => Promise<void>): NodeJS.Timeout {
  let busy = false;
  return setInterval(() => {
    if (busy) return;
    busy = true;
    work()
      .catch((error: unknown) => logRetry(log, error, "housekeeping failed; it is done again"))
      .finally(() => (busy = false));
  }, ms);
}
