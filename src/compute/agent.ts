/**
 * Puts Compute together: what is kept on the disk first, then libvirt and the network, then the link to VStation.
 *
 * Everything works without VStation: a Compute that starts while no server answers looks after the guests it knows of by the
 * documents it has kept. And it works without libvirt: the link is up, the readiness report says what is missing.
 */
import { mkdir } from "node:fs/promises";
import { cpus } from "node:os";
import type { Inventory, Place, Readiness, SeenInstance } from "../api/agent.ts";
import type { CpuBaseline } from "../core/machine.ts";
import type { MigrationTransport } from "../core/migration/halves.ts";
import { formatError, isFailure } from "../lib/errors.ts";
import type { Log } from "../lib/log.ts";
import { backoff, sleep } from "../lib/retry.ts";
import { openLibvirt } from "../libvirt/open.ts";
import { AskDesk } from "./asks/desk.ts";
import type { ComputeConfig } from "./config.ts";
import type { Hypervisor } from "./hypervisor.ts";
import { proveAccelerator } from "./inventory/accelerator.ts";
import { readBootId } from "./inventory/boot.ts";
import { readInventory } from "./inventory/inventory.ts";
import { readReadiness } from "./inventory/readiness.ts";
import { Processor } from "./machine/baseline.ts";
import { Affinity } from "./machine/affinity.ts";
import { Allotments } from "./machine/allotments.ts";
import { Machines } from "./machine/machines.ts";
import { readNodes, readPlaces } from "./machine/places.ts";
import { probeDisk } from "./storage/probe.ts";
import { JobRunner } from "./jobs/runner.ts";
import { imageSender } from "./jobs/send-image.ts";
import { jobWork } from "./jobs/work.ts";
import { Membership } from "./joined.ts";
import { Limit } from "./limit.ts";
import { joinVstation, loadIdentity, type Identity } from "./link/identity.ts";
import { Link } from "./link/link.ts";
import { Outbox } from "./link/outbox.ts";
import { lifeOf, Renewal } from "./link/renewal.ts";
import { subjectAt } from "./metadata/document.ts";
import { Metadata } from "./metadata/metadata.ts";
import { Preflight } from "./migration/preflight.ts";
import { QemuCertificate } from "./migration/qemu-certificate.ts";
import { Pauses } from "./migration/pauses.ts";
import { MigrationRunner } from "./migration/runner.ts";
import { Network } from "./network/network.ts";
import { jobDiskFile, pathsOf } from "./paths.ts";
import { run } from "./process.ts";
import { buildSeed } from "./seed.ts";
import { makeDurableDirectory } from "../lib/durable.ts";
import { ImageFetch } from "./storage/image-fetch.ts";
import { DiskFiles } from "./storage/disk-files.ts";
import { Images } from "./storage/images.ts";
import { Reserve } from "./storage/reserve.ts";
import { SpaceWatch } from "./storage/space-watch.ts";
import type { Context } from "./vm/context.ts";
import { Fleet } from "./vm/fleet.ts";
import { WantedStore } from "./wanted/store.ts";

export interface Agent {
  /** Ends the process's work; guests, bridges and dnsmasq stay as they are. */
  stop(): Promise<void>;
}

const emulator = "/usr/bin/qemu-system-x86_64";
/** Drift of the network is repaired, logs are bounded, and the host's own state is reported, this often. */
const driftEveryMs = 60_000;
/** Long enough for what was placed together to arrive together, short beside the boot of the guest that is to be reached. */
const peersSettleMs = 150;

export async function startAgent(config: ComputeConfig, log: Log): Promise<Agent> {
  const paths = pathsOf(config);
  await makeDurableDirectory(paths.stateDir);
  await mkdir(paths.network, { recursive: true, mode: 0o755 });
  await mkdir(paths.consoles, { recursive: true, mode: 0o711 });
  const ending = new AbortController();
  const [bootId, qemu, disk, nodes] = await Promise.all([
    readBootId(paths.runDir),
    qemuVersion(),
    probeDisk(paths.stateDir, config.diskIo ?? "auto"),
    readNodes(),
  ]);
  const reserve = new Reserve(paths.reserve);
  const store = new WantedStore(paths.wanted, reserve.write, log);
  const libvirt: Hypervisor = openLibvirt({ socketPath: config.libvirtSocket, log });
  const proof = await proveAccelerator({ runDir: paths.runDir, bootId, qemuVersion: qemu, emulator, log });

  const space = new SpaceWatch([paths.instances, ...(config.sharedDir === undefined ? [] : [config.sharedDir])], (id) =>
    fleet.worker(id)?.room(),
  );
  const network = new Network({
    directory: paths.network,
    underlayAddress: config.network.underlayAddress,
    underlayDevice: config.network.underlayDevice,
    log,
    wanted: () => ({ network: store.network, peers: store.peers() }),
    guests: () => fleet.guests(),
    serveIn: (routers) => metadata.ensure(routers),
  });
  const metadata = new Metadata((vpc, address) =>
    subjectAt(vpc, address, { subnets: network.subnets, guests: fleet.guests(), place: store.place }),
  );
  // There once everything here is known; what is said before that is said with it.
  let link: Link | undefined;
  const tell = (): void => {
    void link?.report().catch((error: unknown) => log.error({ err: error }, "could not report the host's state"));
  };
  const outbox: Outbox = new Outbox({
    generation: () => store.generation,
    isWhole: () => fleet.isKnown,
    onReady: () => link?.flush(),
  });
  const membership = new Membership({
    runDir: paths.runDir,
    uninstall: config.uninstall,
    isEmpty: () => fleet.isKnown && [...fleet.guests()].length === 0,
    log,
  });
  let renewal: Renewal | undefined;
  const identity = (): Identity | undefined => renewal?.identity;
  const imageFetch = new ImageFetch({
    directory: config.imageDir,
    servers: config.vstation.servers,
    identity,
    inUse: () => fleet.imagesInUse(),
    limitBytes: config.imageCacheGiB * 2 ** 30,
    log,
  });
  const allotments = new Allotments({
    paths,
    write: reserve.write,
    log,
    readPlaces: () => readPlaces(config.shape),
  });
  const processor = new Processor({
    libvirt,
    accelerator: proof.accelerator,
    emulator,
    without: config.shape === "machine" ? [] : (config.shape.withoutCpuFeatures ?? []),
  });
  const affinity = new Affinity({
    libvirt,
    log,
    running: () => fleet.running(),
    pool: () => machines.pool,
  });
  const machines: Machines = new Machines({ allotments, affinity, processor, nodes });
  let zoneBaseline: CpuBaseline = "host";
  let zoneDirtyRing = false;
  const disks = new DiskFiles(paths, config.sharedDir ?? null);
  const context: Context = {
    log,
    libvirt,
    paths,
    bootId,
    accelerator: proof.accelerator,
    dirtyRing: () => zoneDirtyRing && proof.accelerator === "kvm",
    emulator,
    disks,
    diskCache: disk.cache,
    diskIo: disk.io,
    images: new Images(config.imageDir, imageFetch),
    seeds: { build: buildSeed },
    network,
    machines,
    write: reserve.write,
    starts: new Limit(Math.max(4, 2 * cpus().length)),
    wanted: (id) => store.instance(id),
    publish: (id, seen: SeenInstance | null) => outbox.set(id, seen),
    onRoom: (id) => space.waitFor(id),
    nowMs: () => Date.now(),
  };
  const fleet: Fleet = new Fleet(context, () => [...store.instances()].map(([id]) => id));
  const jobs = new JobRunner({
    paths,
    write: reserve.write,
    wanted: () => store.jobs(),
    work: jobWork({
      disks,
      libvirt,
      instances: fleet,
      copyFor: (id) => jobDiskFile(paths, id),
      sendImage: imageSender({ servers: config.vstation.servers, identity }),
    }),
    publish: (id, seen) => outbox.setJob(id, seen),
    log,
  });
  const qemuCertificate = new QemuCertificate({
    directory: config.migration.tlsDirectory,
    name: config.name,
    servers: config.vstation.servers,
    caFingerprint: config.vstation.caFingerprint,
    identity,
    log,
    onChange: () => tell(),
  });
  // Until VStation has said otherwise.
  let migrationTransport: MigrationTransport = "tls";
  let migrationConnections = 1;
  const pauses = new Pauses(paths.pauses, log);
  const migrations = new MigrationRunner({
    context,
    fleet,
    identity,
    transport: async () => {
      if (migrationTransport === "tls") await qemuCertificate.check();
      return migrationTransport;
    },
    connections: () => migrationConnections,
    underlayAddress: config.network.underlayAddress,
    silenceMs: config.migration.silenceSeconds * 1_000,
    pauses,
    wanted: () => store.migrations(),
    forgetWanted: (id, epoch) => store.forget(id, epoch),
    publish: (id, seen) => outbox.setMigration(id, seen),
  });
  await refill(reserve, log);
  await store.load();
  await fleet.load();
  await allotments.load();
  await jobs.load();
  await migrations.load();
  fleet.start();
  void networkRound(network.check(), log);

  const describe = async (): Promise<{ inventory: Inventory; readiness: Readiness }> => {
    const libvirtVersion = await askVersion(libvirt);
    if (libvirtVersion === "" && libvirt.link === "connected") void tellWhenAnswering();
    const versions = { libvirt: libvirtVersion, qemu };
    const [inventory, readiness] = await Promise.all([
      readInventory(config, versions, allotments.host),
      readReadiness({
        config,
        proof,
        versions,
        libvirtConnected: libvirtVersion !== "",
        foreignDomains: fleet.foreign,
        wentBack: store.wentBack,
        places: allotments.host,
        damagedAllotments: [...allotments.damaged.keys()],
        disk,
        processor: { baseline: zoneBaseline, lacks: () => processor.lacks(zoneBaseline) },
        certificate: renewal?.state ?? null,
        migration: { transport: migrationTransport, trouble: () => qemuCertificate.trouble() },
        widestMtu: Math.max(0, ...(store.network?.subnets ?? []).map((s) => s.mtu)),
      }),
    ]);
    return { inventory, readiness };
  };
  // The first answer of a new libvirtd waits for all that it tries out on QEMU: seconds, and more on a busy host.
  let waiting = false;
  const tellWhenAnswering = async (): Promise<void> => {
    if (waiting) return;
    waiting = true;
    const answers = await libvirt.version({ deadlineMs: 60_000 }).then(
      () => true,
      () => false,
    );
    waiting = false;
    if (answers) tell();
  };
  const desk = new AskDesk({
    paths,
    fleet,
    log,
    readiness: async () => (await describe()).readiness,
    preflight: new Preflight({
      context,
      identity,
      underlayAddress: config.network.underlayAddress,
      untrusted: async () => (migrationTransport === "plain" ? null : qemuCertificate.trouble()),
      pauses,
    }),
  });

  // Where another host's guest lives is of use once it runs. Starts need the processor before that, and twenty make one pass.
  let peersTimer: NodeJS.Timeout | undefined;
  const peersChanged = (): void => {
    peersTimer ??= setTimeout(() => {
      peersTimer = undefined;
      void networkRound(network.changed(), log);
    }, peersSettleMs);
  };

  // Readiness names libvirt: who places instances shall not wait for the next drift check to learn that it is back, or away.
  const libvirtLink = libvirt.onLink((state) => {
    if (state === "connected" || state === "lost") tell();
  });
  const linked = (async () => {
    const joined = await joinUntilIn(config, paths.identity, log, ending.signal);
    if (joined === undefined) return;
    const { name, vstation } = config;
    const keeper = new Renewal({
      ...{ name, directory: paths.identity, servers: vstation.servers, caFingerprint: vstation.caFingerprint },
      identity: joined,
      log,
      onChange: tell,
    });
    renewal = keeper;
    link = new Link({
      servers: vstation.servers,
      identity: () => keeper.identity,
      bootId,
      underlayAddress: config.network.underlayAddress,
      overcommit: config.overcommit,
      log,
      outbox,
      generations: () => ({ wanted: store.generation, peers: store.peersGeneration }),
      describe,
      tell,
      applyWanted: async (message) => {
        const change = await store.apply(message);
        // Before the instances: what a job or a migration holds off must not begin with the same message.
        if (change.jobs) jobs.changed();
        if (change.migrations) migrations.changed();
        fleet.wantedChanged(change.instances);
        outbox.changed();
        const round = networkRound(network.changed(), log);
        if (change.network) await round;
      },
      applyPeers: async (message) => {
        if (await store.applyPeers(message)) peersChanged();
      },
      ask: (ask, reply) => desk.answer(ask, reply),
      consoleInput: (session, data) => desk.consoles.input(session, data),
      consoleClose: (session) => desk.consoles.close(session),
      welcomed: ({
        cpuBaseline,
        place,
        migrationTransport: transport,
        migrationConnections: connections,
        dirtyRing,
      }) => {
        void keepPlace(store, place, log);
        const isNew = JSON.stringify(cpuBaseline) !== JSON.stringify(zoneBaseline) || transport !== migrationTransport;
        zoneBaseline = cpuBaseline;
        migrationTransport = transport;
        migrationConnections = connections ?? 1;
        zoneDirtyRing = dirtyRing === true;
        if (isNew) tell();
        // What its operator reads as the end of the joining is not to call a libvirtd missing that begins.
        void libvirt
          .ready({ deadlineMs: 20_000 })
          .then(() => libvirt.version({ deadlineMs: 60_000 }))
          .catch(() => undefined)
          .then(describe)
          .then(({ readiness }) => membership.welcomed(readiness))
          .catch((error: unknown) => log.warn({ err: error }, "the host's operator was not told that it has joined"));
      },
      onLost: () => desk.consoles.closeAll(),
      onRefused: (isRemoved) => {
        if (isRemoved && membership.removed()) return;
        void keeper.joinAgain(vstation.joinTokenFile);
      },
    });
    await Promise.all([link.run(), keeper.run(ending.signal), qemuCertificate.run(ending.signal)]);
  })();
  const drift = setInterval(() => {
    void networkRound(network.check(), log);
    void fleet.boundLogs();
    void machines.sync();
    void refill(reserve, log);
    tell();
  }, driftEveryMs);

  return {
    async stop() {
      clearInterval(drift);
      clearTimeout(peersTimer);
      void libvirtLink.close();
      ending.abort();
      link?.close();
      space.close();
      desk.consoles.closeAll();
      metadata.close();
      await Promise.all([linked, jobs.stop(), migrations.stop()]);
      await fleet.stop();
      await libvirt.close();
    },
  };
}

/** Empty when libvirt does not answer soon; a Compute that has just started gives it a moment to connect. */
async function askVersion(libvirt: Hypervisor): Promise<string> {
  try {
    await libvirt.ready({ deadlineMs: 2_000 });
    return (await libvirt.version({ deadlineMs: 3_000 })).libvirt;
  } catch {
    // What is wrong is in the log of the connection; here it only means "not there".
    return "";
  }
}

/** A round that fails is told and made again by the next drift check; a guest that needs it asks for its own. */
async function networkRound(round: Promise<void>, log: Log): Promise<void> {
  try {
    await round;
  } catch (error) {
    log.error({ err: error }, "the host's network could not be brought to what is wanted");
  }
}

/** What is not kept is told again at the next connection. */
async function keepPlace(store: WantedStore, place: Place, log: Log): Promise<void> {
  try {
    await store.keepPlace(place);
  } catch (error) {
    log.error({ err: error }, "could not keep where this host is");
  }
}

/** Without a reserve everything works but orders on a full disk: no reason not to begin. */
async function refill(reserve: Reserve, log: Log): Promise<void> {
  try {
    await reserve.fill();
  } catch (error) {
    log.error({ err: error }, "could not keep room in reserve for this host's own notes");
  }
}

/** The identity that lies here, or a new one; a refusal is told and tried again, because a person may put a new token there. */
async function joinUntilIn(
  config: ComputeConfig,
  directory: string,
  log: Log,
  signal: AbortSignal,
): Promise<Identity | undefined> {
  const { servers, caFingerprint, joinTokenFile } = config.vstation;
  for (let attempt = 0; !signal.aborted; attempt++) {
    let known: Identity | undefined;
    try {
      known = await loadIdentity(directory, caFingerprint);
      if (known !== undefined && lifeOf(known).ends.getTime() > Date.now()) return known;
      return await joinVstation({ directory, name: config.name, servers, caFingerprint, joinTokenFile });
    } catch (error) {
      // Its certificate has ended, by a clock that may be wrong, and no token helps: VStation says by its own clock what it is worth.
      if (known !== undefined && !isFailure(error, "unavailable", "timeout")) return known;
      if (isFailure(error)) log.warn({ code: error.code, reason: formatError(error) }, "could not join VStation yet");
      else log.error({ err: error }, "could not join VStation yet");
    }
    await sleep(backoff(attempt, 250, 15_000), signal).catch(() => undefined);
  }
  return undefined;
}

async function qemuVersion(): Promise<string> {
  const text = await run(emulator, ["--version"]);
  return /version (\S+)/.exec(text)?.[1] ?? "unknown";
}
