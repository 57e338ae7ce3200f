/** The disks and snapshots of cloud.fake.ts: in memory, for what the wire and the CLI show; whatever is asked is done at once. */
import { failure } from "../../core/failure-codes.ts";
import type { AccountId, DiskId, InstanceId, SnapshotId } from "../../lib/ids.ts";
import type * as use from "../cloud-storage.ts";

type Told = (call: string, args: unknown[]) => void;
const createdAt = new Date("2026-01-02T03:04:05.000Z");
const accountId = "acct-00000001" as AccountId;

export class FakeDisks implements use.Disks {
  readonly all: use.DiskView[] = [];
  readonly #told: Told;

  constructor(told: Told) {
    this.#told = told;
  }

  create: use.Disks["create"] = async (caller, request) => {
    this.#told("disks.create", [caller, request]);
    const id = `disk-${String(this.all.length + 1).padStart(8, "0")}` as DiskId;
    const { name, zone, type, limits, tags, snapshotId: fromSnapshotId } = request;
    this.all.push({
      id,
      accountId,
      name,
      zone,
      usage: "DATA_DISK",
      type,
      driver: "shared",
      sizeGiB: request.sizeGiB ?? 10,
      limits,
      state: "UNATTACHED",
      instanceId: null,
      deleteWithInstance: false,
      percent: null,
      snapshots: { count: 0, sizeGiB: 0 },
      fromSnapshotId,
      problem: null,
      tags,
      createdAt,
    });
    return [id];
  };

  list: use.Disks["list"] = async (caller, query, page) => {
    this.#told("disks.list", [caller, query, page]);
    const items = this.all.filter((disk) => query.ids?.includes(disk.id) ?? query.names?.includes(disk.name) ?? true);
    return { total: items.length, items: items.slice(page.offset, page.offset + page.limit) };
  };

  attach: use.Disks["attach"] = async (caller, ids, instanceId, deleteWithInstance) => {
    this.#told("disks.attach", [caller, ids, instanceId, deleteWithInstance]);
    this.#set(ids, instanceId);
  };

  detach: use.Disks["detach"] = async (caller, ids, instanceId) => {
    this.#told("disks.detach", [caller, ids, instanceId]);
    this.#set(ids, null);
  };

  resize: use.Disks["resize"] = async (caller, id, sizeGiB) => {
    this.#told("disks.resize", [caller, id, sizeGiB]);
    this.#one(id).sizeGiB = sizeGiB;
  };

  modify: use.Disks["modify"] = async (caller, ids, change) => {
    this.#told("disks.modify", [caller, ids, change]);
    const { limits, ...rest } = change;
    for (const id of ids) {
      const disk = this.#one(id);
      Object.assign(disk, rest, { limits: { ...disk.limits, ...limits } });
    }
  };

  delete: use.Disks["delete"] = async (caller, ids) => {
    this.#told("disks.delete", [caller, ids]);
    for (const id of ids) this.all.splice(this.all.indexOf(this.#one(id)), 1);
  };

  #set(ids: readonly DiskId[], instanceId: InstanceId | null): void {
    for (const id of ids) {
      const disk = this.#one(id);
      disk.instanceId = instanceId;
      disk.state = instanceId === null ? "UNATTACHED" : "ATTACHED";
    }
  }

  #one(id: DiskId): use.DiskView {
    const found = this.all.find((disk) => disk.id === id);
    if (found === undefined) throw failure("DiskNotFound", `there is no disk ${id}`);
    return found;
  }
}

export class FakeSnapshots implements use.Snapshots {
  readonly all: use.SnapshotView[] = [];
  readonly #told: Told;

  constructor(told: Told) {
    this.#told = told;
  }

  create: use.Snapshots["create"] = async (caller, request) => {
    this.#told("snapshots.create", [caller, request]);
    const id = `snap-${String(this.all.length + 1).padStart(8, "0")}` as SnapshotId;
    const { name, diskId, tags } = request;
    this.all.push({
      id,
      accountId,
      name,
      zone: "local-1",
      diskId,
      diskUsage: "DATA_DISK",
      sizeGiB: 10,
      state: "NORMAL",
      percent: 100,
      bytes: 4096,
      problem: null,
      tags,
      createdAt,
    });
    return id;
  };

  list: use.Snapshots["list"] = async (caller, query, page) => {
    this.#told("snapshots.list", [caller, query, page]);
    const items = this.all.filter((each) => query.ids?.includes(each.id) ?? query.names?.includes(each.name) ?? true);
    return { total: items.length, items: items.slice(page.offset, page.offset + page.limit) };
  };

  apply: use.Snapshots["apply"] = async (caller, request) => this.#told("snapshots.apply", [caller, request]);

  delete: use.Snapshots["delete"] = async (caller, ids) => {
    this.#told("snapshots.delete", [caller, ids]);
    for (const id of ids) {
      const at = this.all.findIndex((each) => each.id === id);
      if (at < 0) throw failure("SnapshotNotFound", `there is no snapshot ${id}`);
      this.all.splice(at, 1);
    }
  };
}
