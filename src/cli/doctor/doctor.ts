/** All checks in the order in which a person would look: the folder, the machine, the programs, what they say. */
import { NativeClient } from "../../api/native/client.ts";
import type { Context } from "../context.ts";
import { version } from "../version.ts";
import { examine, ok, warning, type Finding } from "./finding.ts";
import { examineHome, type HomeState } from "./home.ts";
import { examineDisk, examineLeftovers, examineMemory, processAlive } from "./machine.ts";
import { examineDatabase, examineHosts, examineVStation, examineWork } from "./service.ts";

export interface Diagnosis {
  findings: Finding[];
  state: HomeState;
  /** Set when VStation answers. */
  client: NativeClient | undefined;
}

const oldestNode = 24;

export async function diagnose(context: Context): Promise<Diagnosis> {
  const { home, io } = context;
  const { findings, state } = examineHome(home, processAlive);
  const look = async (check: string, work: () => Finding[] | Promise<Finding[]>): Promise<void> => {
    findings.push(...(await examine(check, work)));
  };
  await look("node", examineNode);
  if (findings[0]?.level === "ok") await look("disk", () => examineDisk(home));
  await look("memory", () => examineMemory());
  await look("leftovers", () => examineLeftovers(home));
  if (findings[0]?.level === "ok") await look("database", () => examineDatabase(home));
  if (state.credentials === undefined) return { findings, state, client: undefined };

  const { nativeEndpoint, nativeToken } = state.credentials;
  const client = new NativeClient({ endpoint: nativeEndpoint, token: nativeToken, signal: io.signal });
  const service = await examineVStation(client, version, home);
  findings.push(...service.findings);
  if (!service.answers) return { findings, state, client: undefined };
  await look("hosts", () => examineHosts(client, version));
  await look("instances", () => examineWork(client, io.now()));
  return { findings, state, client };
}

function examineNode(): Finding[] {
  const major = Number(process.versions.node.split(".")[0]);
  return major >= oldestNode
    ? [ok("node", process.versions.node)]
    : [
        warning(
          "node",
          `${process.versions.node} is older than ${oldestNode}`,
          "run it as ./vstation, which brings its own",
        ),
      ];
}
