/** `image`: what system disks start from, and bringing more of it. */
import { statSync } from "node:fs";
import { basename, resolve } from "node:path";
import type { Command } from "commander";
import type { ImageWire } from "../../api/native/resources.ts";
import { bootModes, diskFormats, type BootMode, type DiskFormat } from "../../core/image.ts";
import type { Context } from "../context.ts";
import { Exit, exitCodes, usageError } from "../exit.ts";
import { sendImage, waitForImage } from "../image-import.ts";
import { paint, type Io } from "../io.ts";
import { idOf, idsOf, listAll } from "../resolve.ts";
import { age, facts, printable, table } from "../table.ts";
import { confirmed, contextOf, oneOf, wholeNumber } from "./shared.ts";

const gib = 2 ** 30;

interface CreateFlags {
  description?: string;
  wait?: boolean;
  timeout: number;
}

interface ImportFlags extends CreateFlags {
  name?: string;
  format: DiskFormat;
  bootMode: BootMode;
  secureBoot?: boolean;
  tpm?: boolean;
  hyperv?: boolean;
  os?: string;
  platform?: string;
  memory?: number;
  public?: boolean;
}

export function addImage(program: Command, io: Io): void {
  const image = program.command("image").description("what system disks start from");

  image
    .command("list")
    .alias("ls")
    .description("list images")
    .action(async (_flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const images = await listAll(context.client, "image");
      const now = io.now();
      context.print({ total: images.length, images }, () =>
        table(
          [
            { title: "ID", value: ({ id }) => id },
            { title: "NAME", value: ({ name }) => name },
            { title: "STATE", value: stateText, paint: (text, row) => paintImage(io, text, row) },
            { title: "SYSTEM", value: ({ osName }) => osName },
            { title: "BOOT", value: ({ boot }) => boot },
            { title: "DISK GiB", value: ({ diskGiB }) => diskGiB },
            { title: "MEMORY MiB", value: ({ minMemoryMiB }) => minMemoryMiB },
            { title: "AGE", value: ({ createdAt }) => age(createdAt, now) },
          ],
          images,
        ),
      );
    });

  image
    .command("show")
    .argument("<image>", "id or name")
    .description("show an image, and how far its import is")
    .action(async (given: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "image", given);
      show(context, await context.client.call("imageGet", { params: { id } }));
    });

  image
    .command("import")
    .argument("<file or URL>", "a disk as one file here, or where VStation fetches it by http or https")
    .description(
      "take in an image; its format is declared, never guessed; an interrupted one goes on when the same is said again",
    )
    .requiredOption("--format <format>", `what the file is: ${diskFormats.join(", ")}`, oneOf(diskFormats))
    .option("--name <name>", "name of the image; else the file's")
    .option("--description <text>", "up to 256 characters")
    .option("--boot-mode <firmware>", `what starts it: ${bootModes.join(" or ")}`, oneOf(bootModes), "bios")
    .option("--secure-boot", "with uefi: only signed loaders start")
    .option("--tpm", "the guest gets a TPM 2.0")
    .option("--hyperv", "Hyper-V's enlightenments, for Windows")
    .option("--os <text>", "what is on it, for lists")
    .option("--platform <text>", "its family, as Debian or Windows, for lists")
    .option("--memory <MiB>", "the least memory that it comes up with", wholeNumber(64, 1_048_576))
    .option("--public", "for every account")
    .option("-w, --wait", "wait for the end, showing its progress")
    .option("--timeout <seconds>", "how long --wait waits", wholeNumber(1, 86_400), 3_600)
    .action(async (source: string, flags: ImportFlags, command: Command) => {
      const context = contextOf(io, command);
      const isUrl = /^https?:\/\//i.test(source);
      if (!isUrl && /^[a-z][a-z0-9+.-]*:\/\//i.test(source)) throw usageError(`${source}: a URL is http or https`);
      const file = isUrl ? undefined : resolve(source);
      const from = file === undefined ? { url: source } : { bytes: sizeOf(file) };
      const path = isUrl ? (URL.parse(source)?.pathname ?? "") : source;
      const made = await context.client.call("imageImport", {
        request: {
          name: flags.name ?? basename(path).replace(/\.[^.]*$/, ""),
          format: flags.format,
          bootMode: flags.bootMode,
          secureBoot: flags.secureBoot === true,
          tpm: flags.tpm === true,
          hyperv: flags.hyperv === true,
          public: flags.public === true,
          ...from,
          ...(flags.description === undefined ? {} : { description: flags.description }),
          ...(flags.os === undefined ? {} : { osName: flags.os }),
          ...(flags.platform === undefined ? {} : { platform: flags.platform }),
          ...(flags.memory === undefined ? {} : { minMemoryMiB: flags.memory }),
        },
      });
      if (file !== undefined) await sendImage(context, made, file);
      await printWhenEnded(context, made, flags);
    });

  image
    .command("create")
    .argument("<instance>", "id or name; it may run")
    .argument("<name>", "name of the new image")
    .description("make an image of an instance's system disk")
    .option("--description <text>", "up to 256 characters")
    .option("-w, --wait", "wait for the end, showing its progress")
    .option("--timeout <seconds>", "how long --wait waits", wholeNumber(1, 86_400), 3_600)
    .action(async (given: string, name: string, flags: CreateFlags, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "instance", given);
      const description = flags.description === undefined ? {} : { description: flags.description };
      const made = await context.client.call("imageCreate", { request: { instanceId: id, name, ...description } });
      await printWhenEnded(context, made, flags);
    });

  image
    .command("rename")
    .argument("<image>", "id or name")
    .argument("<name>", "its new name")
    .description("change an image's name")
    .action(async (given: string, name: string, _flags: unknown, command: Command) => {
      const context = contextOf(io, command);
      const id = await idOf(context.client, "image", given);
      const changed = await context.client.call("imageModify", { params: { id }, request: { name } });
      context.print(changed, () => `${changed.id}\n`);
    });

  image
    .command("delete")
    .alias("rm")
    .argument("<image...>", "ids or names")
    .description("delete images; instances that use one keep it until the last of them is gone")
    .option("-y, --yes", "do not ask")
    .action(async (given: string[], flags: { yes?: boolean }, command: Command) => {
      const context = contextOf(io, command);
      const ids = await idsOf(context.client, "image", given);
      await confirmed(context, flags.yes, `Delete ${given.join(", ")}?`);
      for (const id of ids) await context.client.call("imageDelete", { params: { id } });
      context.print({ deleted: ids }, () => `deleted ${ids.join(", ")}\n`);
    });
}

/** The image's id, at once or when it has come to its end; one that failed is told with its reason. */
async function printWhenEnded(context: Context, made: ImageWire, flags: CreateFlags): Promise<void> {
  if (flags.wait !== true) return context.print(made, () => `${made.id}\n`);
  const ended = await waitForImage(context, made.id, flags.timeout * 1000);
  context.print(ended, () => `${ended.id}\n`);
  if (ended.error === null) return undefined;
  context.say(printable(`${ended.id}: ${ended.error.message} (${ended.error.code})`));
  throw new Exit(exitCodes.failed);
}

function show(context: Context, image: ImageWire): void {
  const size = image.diskGiB === 0 ? null : `${image.diskGiB} GiB, ${(image.sizeBytes / gib).toFixed(2)} GiB stored`;
  const pairs: [string, string | number | null][] = [
    ["id", image.id],
    ["name", image.name],
    ["description", image.description === "" ? null : image.description],
    ["state", stateText(image)],
    ["reason", image.error === null ? null : `${image.error.message} (${image.error.code})`],
    ["received", image.received],
    ["owner", image.accountId ?? "everybody"],
    ["source", image.source],
    ["system", image.osName],
    ["platform", image.platform],
    ["boot", image.secureBoot ? `${image.boot}, secure` : image.boot],
    ["machine", machineText(image)],
    ["disk", size],
    ["memory", `${image.minMemoryMiB} MiB at least`],
    ["created", image.createdAt],
  ];
  context.print(image, () => facts(pairs.filter(([, value]) => value !== null)));
}

/** What its machine has beside the usual. */
function machineText({ tpm, hyperv }: ImageWire): string | null {
  const has = [...(tpm ? ["TPM 2.0"] : []), ...(hyperv ? ["Hyper-V enlightenments"] : [])];
  return has.length === 0 ? null : has.join(", ");
}

/** The state in a word, with how far it is while it is under way. */
function stateText({ state, step, progress }: ImageWire): string {
  return step === null ? state : `${state} ${progress} %`;
}

function paintImage(io: Io, text: string, { state }: ImageWire): string {
  if (state === "NORMAL") return paint(io, "green", text);
  return paint(io, state === "IMPORTFAILED" || state === "CREATEFAILED" ? "red" : "yellow", text);
}

/** Asked before anything is made of it: what cannot be sent shall leave no image behind that waits for it. */
function sizeOf(file: string): number {
  let found;
  try {
    found = statSync(file);
  } catch (error) {
    throw usageError(`${file}: ${(error as Error).message}`);
  }
  if (!found.isFile())
    throw usageError(`${file} is no file: copy a device into one first, such as with \`qemu-img convert\``);
  if (found.size === 0) throw usageError(`${file} is empty`);
  return found.size;
}
