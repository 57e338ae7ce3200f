/** The use cases of images, as both edges call them; a part of {@link Cloud} in cloud.ts, whose head says what holds for all. */
import type { ImageManifest } from "../../core/image-manifest.ts";
import type { BootMode, DiskFormat, GuestMachine, ImageSource, ImageState, ImportStep } from "../../core/image.ts";
import type { AccountId, ImageId, InstanceId } from "../../lib/ids.ts";
import type { AnyCaller, Caller, Listed, Page } from "../cloud.ts";

export interface ImageView {
  id: ImageId;
  /** null: for every account. */
  accountId: AccountId | null;
  name: string;
  description: string;
  state: ImageState;
  source: ImageSource;
  /** Per cent; 100 once it is there. */
  progress: number;
  /** What is being done; null when nothing is. */
  step: ImportStep | null;
  failure: { code: string; message: string } | null;
  /** Bytes of the file that are here, while it is awaited from the client. */
  received: number | null;
  /** As declared by who brought it, or as its manifest says. */
  osName: string;
  platform: string;
  boot: "direct" | BootMode;
  machine: GuestMachine;
  minMemoryMiB: number;
  /** null until it is there. */
  manifest: ImageManifest | null;
  /** What its files take. */
  sizeBytes: number;
  createdAt: Date;
}

export interface ImageImportRequest {
  name: string;
  description: string;
  format: DiskFormat;
  bootMode: BootMode;
  osName: string;
  platform: string;
  minMemoryMiB: number;
  machine: GuestMachine;
  /** A file that the client sends, of so many bytes, or one that is fetched. */
  from: { upload: number } | { url: string };
  /** For every account; an operator's word. */
  isPublic: boolean;
  /** Check everything, create nothing. */
  dryRun: boolean;
}

export interface ImageCreateRequest {
  instanceId: InstanceId;
  name: string;
  description: string;
  dryRun: boolean;
}

export interface ImageQuery {
  ids?: ImageId[];
  name?: string;
}

export interface Images {
  /** Everybody's and the caller's own. */
  list(caller: AnyCaller, query: ImageQuery, page: Page): Promise<Listed<ImageView>>;
  get(caller: AnyCaller, id: ImageId): Promise<ImageView>;
  /**
   * Accepted when it returns; ends as NORMAL, or as IMPORTFAILED with a sentence. undefined for a dry run. An upload that is asked for
   * again while its file is awaited is that same one.
   */
  import(caller: Caller, request: ImageImportRequest): Promise<ImageView | undefined>;
  /** Of an instance's system disk, running or stopped; ends as NORMAL or CREATEFAILED. undefined for a dry run. */
  create(caller: Caller, request: ImageCreateRequest): Promise<ImageView | undefined>;
  /** Appends to the file of an import that awaits it; `offset` must be what is there. Returns what is there then. */
  receive(
    caller: AnyCaller,
    id: ImageId,
    offset: number,
    content: AsyncIterable<Uint8Array>,
  ): Promise<{ received: number }>;
  /** SHA-256, in hex, of a part of what is there of such a file; ImageNotReceiving if not all of it is. */
  digest(caller: AnyCaller, id: ImageId, part: { offset: number; bytes: number }): Promise<string>;
  modify(caller: AnyCaller, id: ImageId, change: { name?: string; description?: string }): Promise<ImageView>;
  /** All or none. Instances that use one keep it until the last of them is gone. */
  delete(caller: AnyCaller, ids: ImageId[], options: { dryRun: boolean }): Promise<void>;
  quota(caller: Caller): Promise<{ limit: number; used: number }>;
}
