/**
 * Which walk comes by which await, as recorded (`npm run test:faults -- --record`) and kept in reach.json, and which awaits no walk
 * can come by, each with its reason. A unit test holds both against the source: an await that is in neither fails it.
 */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import * as z from "zod";
import { writeWhole } from "../../../lab/home.ts";
import type { AwaitVictim } from "./orders.ts";
import { walks, type Walk } from "./walks.ts";

const file = join(import.meta.dirname, "reach.json");
const schema = z.record(z.string(), z.enum(walks));
export type Reach = Readonly<Record<string, Walk>>;

export function readReach(): Reach {
  return existsSync(file) ? schema.parse(JSON.parse(readFileSync(file, "utf8"))) : {};
}

export function writeReach(reach: Reach): void {
  const sorted = Object.fromEntries(Object.entries(reach).toSorted(([a], [b]) => (a < b ? -1 : 1)));
  writeWhole(file, `${JSON.stringify(sorted, undefined, 2)}\n`, 0o644);
}

/** Who may be killed at a step: the program itself, and what the program leans on. */
export function victimsAt(step: string): readonly AwaitVictim[] {
  if (step.startsWith("vstation/")) return ["self", "postgres"];
  if (step.startsWith("compute/") || step.startsWith("libvirt/")) return ["self", "libvirtd"];
  return ["self"];
}

/**
 * Awaits that no walk comes by for sure: what their names begin with, and why a kill there has no run here. Some are come by now and
 * then; a recording that meets them names them all the same.
 */
export const exempt: readonly (readonly [prefix: string, why: string])[] = [
  // The client's verbs have their own tests against a real daemon (test/real/libvirt*.test.ts), kills of it included.
  ["libvirt/verbs/", "no walk comes by this verb: Compute does not call it, or only in a migration"],
  ["libvirt/open.ts#openLibvirt.openMigration", "no walk moves a guest yet: test/real/compute-migration.test.ts"],
  ["libvirt/open.ts#openLibvirt.openStream", "Compute opens no stream of libvirt"],
  ["libvirt/client.ts#Connection.openStream", "Compute opens no stream of libvirt"],
  ["libvirt/stream.ts#", "Compute opens no stream of libvirt"],
  ["libvirt/subscriptions.ts#Subscriptions.onMonitor", "Compute listens to no monitor event yet"],
  ["libvirt/subscriptions.ts#Subscriptions.#sync", "only while a subscription changes under a running one"],
  ["libvirt/transport.ts#Transport.drained", "only under more output than a socket takes at once"],
  ["libvirt/link.ts#Link.#live", "a wait; begins nothing"],

  // Nothing is begun at the wait after a failure; what failed is begun anew, and that has its own runs.
  ["compute/agent.ts#startAgent.transport", "a read, where a guest moves: test/real/migration-tls.test.ts"],
  ["compute/agent.ts#startAgent.tellWhenAnswering", "a wait; begins nothing"],
  ["compute/agent.ts#joinUntilIn", "the wait before another try to join"],
  ["compute/limit.ts#Limit.run", "the wait of a start behind many others"],
  ["lib/retry.ts#", "a wait; begins nothing"],
  ["compute/drain-monitors.ts#", "over before libvirtd begins: test/real/compute-faults.test.ts"],
  [
    "lib/digest.ts#",
    "reads only; imports and fetches have their own kills: test/real/image-import.test.ts, image-fetch.test.ts",
  ],
  ["vstation/agents/seen-writer.ts#SeenWriter.#run", "the wait before a report is written again"],
  ["vstation/agents/seen-writer.ts#SeenWriter.#oneByOne", "only where one host's report cannot be written at all"],
  ["vstation/agents/session.ts#HostSession.#stream", "the wait before what is wanted is read again"],
  ["vstation/agents/image-files.ts#", "lab hosts share VStation's images: test/real/image-fetch.test.ts"],
  // A lab has one VStation; two and more: vstation-placement.test.ts, services.test.ts.
  ["vstation/pass-on.ts#", "only between replicas; what is passed on is done by the other one as if asked there"],
  ["vstation/store/zone.ts#leaseAddress", "only between replicas; reads only"],
  ["vstation/agents/listener.ts#AgentListener.#renew", "by the clock, once a day; writes nothing"],
  // A certificate is renewed weeks after a host has joined.
  ["compute/link/identity.ts#renewIdentity", "killed at both its points: test/real/renewal.test.ts"],
  ["compute/link/identity.ts#certify", "writes nothing here: test/real/renewal.test.ts, migration-tls.test.ts"],
  ["compute/link/renewal.ts#", "weeks after a host has joined: test/real/renewal.test.ts"],
  ["vstation/agents/join.ts#answerRenew", "writes nothing: test/real/renewal.test.ts"],
  ["vstation/agents/join.ts#renew/", "writes nothing: test/real/renewal.test.ts"],
  // A machine that becomes a host, and one that is none any more.
  [
    "vstation/agents/programs.ts#",
    "asked once in a machine's life, and again when cut off: test/real/host-add.test.ts",
  ],
  ["vstation/store/join-tokens.ts#joinTokenValid", "a read, for the same: test/real/host-add.test.ts"],
  ["vstation/app/hosts.ts#hosts.remove", "one transaction; no walk takes a host out: test/real/host-add.test.ts"],
  ["vstation/store/hosts.ts#hostRemove", "one transaction; no walk takes a host out: test/real/host-add.test.ts"],
  // An import is killed at moments of its whole way in test/real/image-import.test.ts, and must come to its end.
  ["vstation/images/", "imports: killed while sent, fetched and converted in test/real/image-import.test.ts"],
  ["vstation/app/image-create.ts#", "images of instances: killed on the way in test/real/image-create.test.ts"],
  ["vstation/app/images.ts#images.", "imports and changes of images: test/real/image-import.test.ts"],
  ["vstation/app/images.ts#rowView", "imports and changes of images: test/real/image-import.test.ts"],
  ["vstation/cvm/images.ts#", "imports and changes of images: test/real/image-import.test.ts"],
  ["vstation/native/calls/catalogue.ts#image", "imports and changes of images: test/real/image-import.test.ts"],
  ["vstation/store/images.ts#", "imports and changes of images: test/real/image-import.test.ts"],
  ["vstation/app/event-tail.ts#EventTail.#after", "only with more events at once than one read takes"],
  ["vstation/app/event-tail.ts#EventTail.#run", "the wait before events are read again"],
  ["vstation/engine.ts#whenDatabaseIsThere", "the wait for a database at the very start"],
  ["vstation/placement/lease.ts#Lease.#timeLoop", "the wait between two renewals"],
  ["vstation/placement/projection-keeper.ts#ProjectionKeeper.#rebuild", "the wait before the projection is read again"],
  ["vstation/placement/host-patience.ts#HostPatience.during/2", "the wait for hosts that are on their way"],
  [
    "vstation/placement/host-patience.ts#HostPatience.during/3",
    "a zone in which no host was heard of: src/vstation/placement/host-patience.test.ts, test/real/vstation-placement.test.ts",
  ],
  [
    "vstation/placement/projection-keeper.ts#ProjectionKeeper.whenReady",
    "the wait for a placement that is just starting, or for hosts that are being read",
  ],
  ["vstation/reconciler/reconciler.ts#Reconciler.#inBackground", "the wait before background work is done again"],
  ["vstation/reconciler/reconciler.ts#Reconciler.#loop", "the wait before a batch is decided again"],

  // Changes of networks and tags: one transaction each, so a kill leaves all of it or nothing.
  ["vstation/app/network/subnets.ts#subnets.usedAddresses", "a read, by the VPC API alone"],
  ["vstation/cvm/instance-security-groups.ts#", "the same use cases as by the native API"],
  ["vstation/cvm/vpc/", "the same use cases as by the native API"],
  ["vstation/app/instance-network.ts#", "reads only, and one transaction at an account's first instance"],
  ["vstation/store/network-seed.ts#defaultSubnet", "one transaction at an account's first instance"],
  ["vstation/app/tags.ts#", "one transaction; no walk changes a tag yet"],
  ["vstation/cvm/tag/", "one transaction; no walk changes a tag yet"],
  ["vstation/app/instance-renumber.ts#order/3", "in the same transaction, only where the host name is not kept"],
  [
    "vstation/app/network/elastic-addresses.ts#elasticAddresses.setBandwidth",
    "one transaction: test/real/vstation-security-groups.test.ts",
  ],
  [
    "vstation/store/elastic-addresses.ts#elasticAddressSetBandwidth",
    "one transaction: test/real/vstation-security-groups.test.ts",
  ],
  ["vstation/cvm/instance-addresses.ts#module/2", "one transaction: test/real/vstation-security-groups.test.ts"],
  ["vstation/store/tags.ts#", "one transaction; no walk changes a tag yet"],

  // Of disks: what is walked by tests of its own, or only where something fails.
  ["compute/jobs/", "only where a copy is made at rest, is cut off or fails: test/real/compute-disks.test.ts"],
  ["compute/storage/disk-files.ts#", "only where an empty disk could not be made; or by the clock"],
  [
    "compute/vm/prepare.ts#ensureSystemDisk",
    "only where a system disk could not be made, or lies in the shared folder",
  ],
  ["vstation/app/disks.ts#", "one transaction each; other ways through it: test/real/vstation-disks.test.ts"],
  ["vstation/app/snapshots.ts#", "one transaction each; other ways through it: test/real/vstation-disks.test.ts"],
  ["vstation/app/instance-reinstall.ts#", "one transaction, then a stop and a start: test/real/vstation-disks.test.ts"],
  ["vstation/cvm/change-disks.ts#", "calls one use case after another: test/real/vstation-disks.test.ts"],
  ["vstation/cvm/cbs/", "answers and what calls one use case after another: test/real/vstation-disks.test.ts"],
  ["vstation/native/calls/instances.ts#instanceReinstall", "the same use case as by the SDK"],
  ["vstation/reconciler/storage.ts#", "only where work on a disk is given up: test/real/vstation-disks.test.ts"],
  ["vstation/store/instance-insert.ts#dataDisksTake/", "only with data disks: test/real/vstation-disks.test.ts"],
  ["vstation/store/disks.ts#", "only for lists longer than a page, or disks of instances that move or end"],
  ["vstation/store/jobs.ts#jobsForget", "by the clock, once an hour; one statement"],

  // A move of a guest. VStation dies at each of its points, and in the middle of each phase, in tests with simulated hosts.
  ["vstation/app/migration-begin.ts#", "parts of one transaction: test/real/vstation-migration-edges.test.ts"],
  ["vstation/app/hosts.ts#hosts.drain", "one transaction: test/real/vstation-drain.test.ts"],
  ["vstation/app/hosts.ts#hosts.undrain", "one transaction, and calls off: test/real/vstation-drain.test.ts"],
  ["vstation/app/hosts.ts#hosts.views", "two reads: test/real/vstation-drain.test.ts"],
  ["vstation/native/calls/infrastructure.ts#hostDrain", "one use case and a read: test/real/vstation-drain.test.ts"],
  ["vstation/native/calls/infrastructure.ts#hostUndrain", "one use case and a read: test/real/vstation-drain.test.ts"],
  ["vstation/placement/turn.ts#", "two reads: test/real/vstation-drain.test.ts"],
  [
    "vstation/reconciler/migration-queue.ts#",
    "one transaction a step, killed at its points: test/real/vstation-migration-edges.test.ts",
  ],
  ["vstation/reconciler/nudged.ts#Nudged.#loop", "only after a pass that failed"],
  ["vstation/store/host-drain.ts#", "parts of those transactions, and reads: test/real/vstation-drain.test.ts"],
  ["vstation/store/migration-queue.ts#", "parts of those transactions, and reads: test/real/vstation-drain.test.ts"],
  [
    "vstation/app/instance-migrate.ts#",
    "one transaction, killed at its points: test/real/vstation-migration-edges.test.ts",
  ],
  ["vstation/app/migration-plan.ts#", "changes nothing: test/real/vstation-migration-plan.test.ts"],
  ["vstation/store/wanted-spec.ts#specRead", "a read, for the same"],
  ["vstation/placement/placer.ts#groupOf", "one read, of an instance in a group: test/real/vstation-placement.test.ts"],
  ["vstation/placement/placer.ts#Placer.wouldMove", "takes nothing, for the same"],
  ["vstation/app/migrations.ts#", "a read, and one transaction: test/real/vstation-migration.test.ts"],
  ["vstation/native/calls/migrations.ts#", "calls one use case after another: test/real/vstation-migration.test.ts"],
  [
    "vstation/placement/placer.ts#Placer.migrate",
    "one transaction, killed at its points: test/real/vstation-migration-edges.test.ts",
  ],
  [
    "vstation/reconciler/migrations.ts#",
    "one transaction a step, killed at its points: test/real/vstation-migration-edges.test.ts",
  ],
  ["vstation/store/guest-migration", "parts of those transactions, and reads: test/real/vstation-migration.test.ts"],
  ["vstation/store/jobs.ts#jobsOnDisks", "a read in the transaction that accepts a move"],

  // Not on the way of any request; by the clock, or only where something is already broken.
  ["compute/hypervisor.ts#", "only where a guest is paused or its record is lost"],
  [
    "compute/machine/affinity.ts#Affinity.#tell",
    "only where processors change hands beside a running guest: test/real/compute-machine.test.ts",
  ],
  [
    "compute/machine/baseline.ts#",
    "only where a zone names its processor: test/real/compute-machine.test.ts; a question to libvirt",
  ],
  ["compute/inventory/readiness.ts#processor", "only where a zone names its processor; a question to libvirt"],
  [
    "compute/machine/machines.ts#Machines.prepare/4",
    "only where processors change hands: test/real/compute-machine.test.ts",
  ],
  ["compute/machine/places.ts#readHugepages", "only on a host that offers all of its machine; reads only"],
  ["compute/machine/places.ts#readPlaces/2", "only on a host that offers all of its machine; reads only"],
  [
    "compute/migration/",
    "no walk moves a guest yet: killed at each of its points in test/real/compute-migration.test.ts",
  ],
  ["compute/vm/arrival.ts#", "no walk moves a guest yet: test/real/compute-migration.test.ts"],
  ["compute/vm/worker.ts#Worker.adopt", "no walk moves a guest yet: test/real/compute-migration.test.ts"],
  ["compute/vm/worker.ts#Worker.vanish", "no walk moves a guest yet: test/real/compute-migration.test.ts"],
  ["compute/wanted/store.ts#WantedStore.forget", "no walk moves a guest yet: test/real/compute-migration.test.ts"],
  ["compute/storage/probe.ts#", "a file that is tried out at the start and removed"],
  ["compute/storage/image-fetch.ts#", "lab hosts share VStation's images: test/real/image-fetch.test.ts"],
  ["compute/storage/images.ts#Images.ensure/2", "lab hosts share VStation's images: test/real/image-fetch.test.ts"],
  ["compute/network/", "only where a VPC comes, changes or goes, or its dnsmasq dies: test/real/network-crash.test.ts"],
  ["compute/storage/images.ts#readImage", "only where an image cannot be read"],
  ["compute/storage/reserve.ts#", "only on a full disk: test/real/compute-full.test.ts"],
  ["compute/storage/space-watch.ts#", "only on a full disk: test/real/disk-full.test.ts"],
  ["lib/durable.ts#removeTemporaries", "only where a writing was cut off"],
  ["compute/vm/log-bound.ts#", "only where a serial log is too long: src/compute/vm/log-bound.test.ts"],
  ["compute/vm/prepare.ts#ensureSeed", "only where a seed could not be made"],
  ["compute/vm/steps.ts#forgetTrace", "only where libvirt refuses a start"],
  ["compute/vm/worker.ts#Worker.#attempt", "only where libvirt refuses a start"],
  ["compute/vm/worker.ts#Worker.#do", "resuming after a full disk: test/real/disk-full.test.ts"],
  ["compute/wanted/store.ts#WantedStore.load", "only where a writing was cut off"],
  ["compute/wanted/store.ts#WantedStore.#take", "only where an instance is forgotten while the host was away"],
  ["lib/undo.ts#", "only where a start of VStation's listeners fails half way"],
  ["vstation/app/instance-run.ts#", "only where the answer to a client token is given again, or two ask at once"],
  ["vstation/credentials.ts#", "only under sudo"],
  ["vstation/engine.ts#startEngine", "by the clock"],
  ["vstation/http.ts#create", "only with TLS"],
  ["vstation/native/console.ts#", "only where a client reads slowly, or the log of the past is being read"],
  ["vstation/native/handler.ts#createNativeHandler", "GET /healthz and /openapi.json: reads only"],
  ["vstation/placement/projection-keeper.ts#ProjectionKeeper.verify", "by the clock, once a minute; reads only"],
  [
    "vstation/placement/group-commit.ts#GroupCommit.#commit",
    "only where a key or group goes during the request: vstation-placement.test.ts",
  ],
  ["vstation/reconciler/reconciler.ts#Reconciler.#oneByOne", "only where one instance cannot be written at all"],
  ["vstation/store/audit.ts#auditForget", "by the clock, once an hour; one statement at a time"],
  ["vstation/app/instance-power.ts#restart", "the transaction of a reboot: test/real/tenants-actions.test.ts"],
  [
    "vstation/app/instance-modify.ts#instanceModify/4",
    "the transaction of a reboot: test/real/tenants-actions.test.ts",
  ],
  ["vstation/audit.ts#Audit.#run/3", "only where lines wait at an end: test/real/tenants.test.ts"],
  ["vstation/store/access-keys.ts#sealAnew", "only where a key was rotated: test/real/tenants.test.ts"],
  ["vstation/keyring.ts#Keyring.open/", "only at the very first start, or where a key was rotated: keyring.test.ts"],
  ["vstation/store/events.ts#eventsForget", "by the clock, once an hour; one statement"],
  ["vstation/store/client-tokens.ts#clientTokensForget", "by the clock, once an hour; one statement"],
  ["vstation/store/hosts.ts#hostUsesImage", "lab hosts share VStation's images: test/real/image-fetch.test.ts"],
  ["vstation/store/hosts.ts#hostsSilent", "by the clock; one statement"],
];
