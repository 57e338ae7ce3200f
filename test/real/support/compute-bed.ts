/** What tests of Compute stand on: a cable, a VStation in the test's hand, and hosts that dial into it. */
import { UndoStack } from "../../../src/lib/undo.ts";
import { ComputeHost, TestUnderlay, type ComputeHostOptions } from "./compute-host.ts";
import { FakeVstation, type FakeHostSession } from "./fake-vstation.ts";
import { testNetwork } from "./wanted-documents.ts";

type HostOptions = Partial<Omit<ComputeHostOptions, "underlay" | "agents">>;

export class ComputeBed {
  readonly underlay: TestUnderlay;
  readonly vstation: FakeVstation;
  readonly #undo: UndoStack;

  private constructor(underlay: TestUnderlay, vstation: FakeVstation, undo: UndoStack) {
    this.underlay = underlay;
    this.vstation = vstation;
    this.#undo = undo;
  }

  static async begin(): Promise<ComputeBed> {
    const undo = new UndoStack();
    const underlay = new TestUnderlay();
    undo.push("underlay", () => underlay.remove());
    try {
      const vstation = await FakeVstation.start(underlay.address);
      undo.push("vstation", () => vstation.stop());
      return new ComputeBed(underlay, vstation, undo);
    } catch (error) {
      underlay.remove();
      throw error;
    }
  }

  /** A host with libvirtd, and VStation's side of its connection; the test starts Compute on it. */
  async host(options: HostOptions = {}): Promise<{ host: ComputeHost; session: FakeHostSession }> {
    const { underlay, vstation } = this;
    const agents = { port: vstation.port, caFingerprint: vstation.caFingerprint, token: vstation.newToken() };
    const host = await ComputeHost.start({ underlay, number: 1, agents, ...options });
    this.#undo.push(host.name, () => host.stop());
    const session = vstation.session(host.name);
    session.network = testNetwork;
    return { host, session };
  }

  /** Takes everything down, last first; what would not go is told when all the rest has gone. */
  async end(): Promise<void> {
    const failures: string[] = [];
    await this.#undo.unwind((name, error) => failures.push(`${name}: ${String(error)}`));
    if (failures.length > 0) throw new Error(failures.join("; "));
  }
}
