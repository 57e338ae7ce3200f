/**
 * KVM or TCG, by proof. A /dev/kvm that opens and creates a VM may still fail on the guest's first instruction (seen: "KVM internal
 * error"), or on setting up the vCPU (seen: "failed to set MSR"). So once per boot and QEMU version a guest of a few
 * instructions is run with the very settings that instances get (`-cpu host`); KVM is taken only if it ran to its end.
 *
 * A wrong "no" costs speed and is said loudly; a wrong "yes" would cost every guest. So whatever is not a clear success is a no.
 * The result is kept in runDir; it ends with the boot.
 */
import { spawn } from "node:child_process";
import { access, constants, mkdtemp, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as z from "zod";
import { formatError } from "../../lib/errors.ts";
import type { Log } from "../../lib/log.ts";
import { readDurable, writeDurably } from "../../lib/durable.ts";
import { probeRom, romExitStatus, romSays } from "./probe-rom.ts";

export interface AcceleratorProof {
  readonly accelerator: "kvm" | "tcg";
  /** What was found, for the readiness report. */
  readonly evidence: string;
}

/** Many times what it takes: on a cold or emulated machine QEMU alone needs seconds to be loaded, and a wrong "no" lasts a boot. */
const deadlineMs = 30_000;
const cacheSchema = z.strictObject({
  bootId: z.string(),
  qemu: z.string(),
  proof: z.strictObject({ accelerator: z.enum(["kvm", "tcg"]), evidence: z.string() }),
});

export async function proveAccelerator(options: {
  runDir: string;
  bootId: string;
  qemuVersion: string;
  emulator: string;
  log: Log;
}): Promise<AcceleratorProof> {
  const { runDir, bootId, qemuVersion, emulator, log } = options;
  const cache = join(runDir, "accelerator.json");
  const known = await readDurable(cache, cacheSchema).catch(() => undefined);
  if (known?.bootId === bootId && known.qemu === qemuVersion) return known.proof;
  const proof = await prove(runDir, emulator);
  if (proof.accelerator === "kvm") log.info(proof, "KVM proven by a guest that ran");
  else log.warn(proof, "guests run under TCG, many times slower than KVM");
  await writeDurably(cache, JSON.stringify({ bootId, qemu: qemuVersion, proof }));
  return proof;
}

async function prove(runDir: string, emulator: string): Promise<AcceleratorProof> {
  try {
    await access("/dev/kvm", constants.R_OK | constants.W_OK);
  } catch (error) {
    return { accelerator: "tcg", evidence: `/dev/kvm cannot be opened (${formatError(error)})` };
  }
  const directory = await mkdtemp(join(runDir, "probe-"));
  try {
    const rom = join(directory, "rom");
    await writeFile(rom, probeRom());
    return await runProbe(emulator, rom, "kvm");
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

/** Runs the probe guest; exported for the test, which runs it under TCG, where it must succeed everywhere. */
export function runProbe(emulator: string, rom: string, accelerator: "kvm" | "tcg"): Promise<AcceleratorProof> {
  const args = ["-machine", `q35,accel=${accelerator}`, "-cpu", accelerator === "kvm" ? "host" : "max", "-m", "16"];
  args.push("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio");
  args.push("-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-bios", rom);
  return new Promise((resolve) => {
    const child = spawn(emulator, args, { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    const refuse = (why: string): void => {
      child.kill("SIGKILL");
      resolve({ accelerator: "tcg", evidence: why.slice(0, 400) });
    };
    const timer = setTimeout(
      () => refuse(`the probe guest did not end within ${deadlineMs} ms: ${err.trim()}`),
      deadlineMs,
    );
    child.stdout.setEncoding("utf8").on("data", (part: string) => (out += part));
    child.stderr.setEncoding("utf8").on("data", (part: string) => {
      err += part;
      // QEMU stays, stopped, after this one: waiting for the deadline would tell nothing more.
      if (err.includes("KVM internal error")) refuse(`the probe guest failed: ${firstLine(err)}`);
    });
    child.on("error", (error) => refuse(`${emulator} could not be run: ${formatError(error)}`));
    child.on("close", (code) => {
      clearTimeout(timer);
      if (code === romExitStatus && out.includes(romSays)) {
        resolve({ accelerator, evidence: "a probe guest ran in long mode to its end" });
      } else {
        resolve({
          accelerator: "tcg",
          evidence: `the probe guest failed: ${firstLine(err) || `status ${code}`}`.slice(0, 400),
        });
      }
    });
  });
}

function firstLine(text: string): string {
  return text.trim().split("\n")[0] ?? "";
}
