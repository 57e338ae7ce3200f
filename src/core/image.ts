/** The words of images: how one came, how far it is, and what a person may declare of one that is to be taken in. */

/** Of CVM, with its spelling: `...ING` is under way, `...FAILED` ended with a reason and can only be deleted. */
export const imageStates = ["CREATING", "NORMAL", "CREATEFAILED", "IMPORTING", "IMPORTFAILED"] as const;
export type ImageState = (typeof imageStates)[number];

export const imageSources = ["OFFICIAL", "CREATE_IMAGE", "EXTERNAL_IMPORT"] as const;
export type ImageSource = (typeof imageSources)[number];

/** What a disk file is, declared by who brings it: a guess would let a file choose which of QEMU's readers meets it. */
export const diskFormats = ["qcow2", "raw", "vmdk", "vhd"] as const;
export type DiskFormat = (typeof diskFormats)[number];

export const bootModes = ["bios", "uefi"] as const;
export type BootMode = (typeof bootModes)[number];

/** What a guest expects of its machine beside the usual; Windows asks for all three. */
export interface GuestMachine {
  /** With UEFI only: only signed loaders start. */
  readonly secureBoot: boolean;
  readonly tpm: boolean;
  /** Hyper-V's enlightenments. */
  readonly hyperv: boolean;
}

export const plainMachine: GuestMachine = { secureBoot: false, tpm: false, hyperv: false };

/** The named steps of an import; each is written down before it begins, and is made again from its beginning after a crash. */
export const importSteps = [
  /** The file is awaited from the client, or from the host of the instance that it is made of. */
  "receive",
  /** The file is fetched from its URL. */
  "fetch",
  /** The file is here: it is examined, converted, and put in its place. */
  "convert",
] as const;
export type ImportStep = (typeof importSteps)[number];

/** Why an import ended without an image. */
export const importFailureCodes = [
  "WrongFormat",
  "Truncated",
  "Damaged",
  "BackingFile",
  "ExternalData",
  "Encrypted",
  "NoPartitionTable",
  "TooLarge",
  "UrlRefused",
  "DownloadFailed",
  "UploadMissing",
  "CopyFailed",
  "ConversionFailed",
  "TookTooLong",
  "OutOfSpace",
] as const;
export type ImportFailureCode = (typeof importFailureCodes)[number];

/** An import's end, with a sentence that says what is wrong and, where there is something, what to do. */
export class ImportRefusal extends Error {
  readonly code: ImportFailureCode;

  constructor(code: ImportFailureCode, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "ImportRefusal";
    this.code = code;
  }
}

/** Share of an import's progress that belongs to the file's arrival. */
const arrivalShare = 60;

/** Per cent of an import, 0 to 99: 100 is an image that is there. */
export function importProgress(step: ImportStep, share: number): number {
  const part = Math.min(1, Math.max(0, share));
  if (step === "convert") return Math.min(99, arrivalShare + Math.floor((100 - arrivalShare) * part));
  return Math.floor(arrivalShare * part);
}
