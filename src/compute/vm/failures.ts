/** How what a step throws becomes one of the reasons that VStation knows by name. */
import type { SeenReason } from "../../core/seen.ts";
import { causesOf, Failure, isNoSpace } from "../../lib/errors.ts";
import { LibvirtError } from "../../libvirt/errors.ts";

const byCode: Readonly<Record<string, SeenReason>> = {
  ImageMissing: "image_missing",
  DiskMissing: "disk_missing",
  MachineUnavailable: "machine_unavailable",
  NetworkFailed: "network_failed",
};

export function reasonOf(error: unknown): SeenReason {
  for (const one of causesOf(error)) {
    if (one instanceof Failure) {
      const reason = byCode[one.code];
      if (reason) return reason;
    }
    if (isNoSpace(one)) return "out_of_space";
    const errno = (one as NodeJS.ErrnoException).code;
    if (errno === "EIO" || errno === "EROFS") return "io_error";
  }
  return "start_failed";
}

/** One line for VStation; what libvirt said is kept, the host's folders in it are not. */
export function messageOf(error: unknown): string {
  const said = [...causesOf(error)].map((one) => {
    const text = one instanceof LibvirtError ? one.detail["text"] : undefined;
    return typeof text === "string" && text !== "" ? text : one.message;
  });
  return [...new Set(said)]
    .join(": ")
    .replaceAll(/\/[^\s'":]*\//g, "")
    .slice(0, 1000);
}

/** The call may have been done: only looking again tells. */
export function isOutcomeUnknown(error: unknown): boolean {
  return [...causesOf(error)].some(
    (one) =>
      one instanceof Failure &&
      !(one instanceof LibvirtError) &&
      (one.kind === "timeout" || one.code === "LibvirtConnectionLost"),
  );
}
