/** The actions that change instances. All or nothing: the use case checks every id before it accepts one. */
import type { StopMode } from "../../core/instance.ts";
import type { InstanceChange } from "../cloud.ts";
import { action } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { userData, guestUser, hostName, password } from "./instance-values.ts";
import { instancesOf } from "./instances-of.ts";
import { someSecurityGroups } from "./instance-security-groups.ts";
import { boolean, check, idsToChange, ignored, integer, line, oneOf, refused, text } from "./parameters.ts";

const InstanceIds = idsToChange("instance", 100);

const stopType = oneOf(["SOFT", "SOFT_FIRST", "HARD"]);
const stopModes = { SOFT: "soft", SOFT_FIRST: "soft_first", HARD: "hard" } as const;

/** The old flag meant "by force if it does not go softly"; it and its successor exclude each other. */
function stopMode(type: keyof typeof stopModes | undefined, flag: string, force: boolean | undefined): StopMode {
  if (type === undefined) return force === true ? "soft_first" : "soft";
  if (force !== undefined)
    throw new Refusal("InvalidParameterCombination", `Give \`StopType\` or \`${flag}\`, not both.`);
  return stopModes[type];
}

export const startInstances = action("StartInstances")({ InstanceIds }, async ({ cloud, caller }, request) => {
  await cloud.instances.start(caller, request.InstanceIds);
  return {};
});

export const stopInstances = action("StopInstances")(
  {
    InstanceIds,
    ForceStop: boolean().optional(),
    StopType: stopType.optional(),
    StoppedMode: check(
      oneOf(["KEEP_CHARGING", "STOP_CHARGING"]),
      "UnsupportedOperation.StoppedModeStopCharging",
      "must be KEEP_CHARGING",
      (value) => value === "KEEP_CHARGING",
    ).optional(),
  },
  async ({ cloud, caller }, request) => {
    const how = stopMode(request.StopType, "ForceStop", request.ForceStop);
    await cloud.instances.stop(caller, request.InstanceIds, how);
    return {};
  },
);

export const rebootInstances = action("RebootInstances")(
  { InstanceIds, ForceReboot: boolean().optional(), StopType: stopType.optional() },
  async ({ cloud, caller }, request) => {
    const how = stopMode(request.StopType, "ForceReboot", request.ForceReboot);
    await cloud.instances.reboot(caller, request.InstanceIds, how);
    return {};
  },
);

export const terminateInstances = action("TerminateInstances")(
  // An address that came with an instance goes with it, one of the account's own stays; data disks cannot be kept or released.
  { InstanceIds, ReleaseAddress: ignored(), ReleasePrepaidDataDisks: ignored() },
  async ({ cloud, caller }, request) => {
    await cloud.instances.terminate(caller, request.InstanceIds);
    return {};
  },
);

/** The guest has it from its next start on; without a name, it is that of the user whom the image lets in. */
export const resetInstancesPassword = action("ResetInstancesPassword")(
  {
    InstanceIds,
    Password: password(),
    UserName: guestUser().optional(),
    ForceStop: boolean().default(false),
  },
  async ({ cloud, caller }, request) => {
    const login = { user: request.UserName ?? null, password: request.Password };
    await cloud.instances.setPassword(caller, request.InstanceIds, login, request.ForceStop);
    return {};
  },
);

/** There is one project. */
export const modifyInstancesProject = action("ModifyInstancesProject")(
  { InstanceIds, ProjectId: integer(0, 0, "InvalidProjectId.NotFound") },
  async (context, request) => {
    await instancesOf(context, request.InstanceIds);
    return {};
  },
);

export const resetInstancesType = action("ResetInstancesType")(
  {
    InstanceIds: idsToChange("instance", 1),
    InstanceType: text(64, "InvalidParameterValue.InstanceTypeNotFound"),
    ForceStop: boolean().default(false),
  },
  async ({ cloud, caller }, request) => {
    const to = { instanceType: request.InstanceType, mayStop: request.ForceStop };
    for (const id of request.InstanceIds) await cloud.instances.resize(caller, id, to);
    return {};
  },
);

export const modifyInstancesAttribute = action("ModifyInstancesAttribute")(
  {
    InstanceIds,
    InstanceName: check(line(60), "InvalidParameterValue.NotEmpty", "is empty", (value) => value !== "").optional(),
    UserData: userData().optional(),
    DisableApiTermination: boolean().optional(),
    SecurityGroups: someSecurityGroups().optional(),
    CamRoleName: refused(),
    CamRoleType: ignored(),
    HostName: check(
      hostName(),
      "InvalidParameterValue.IllegalHostName",
      "is empty",
      (value) => value !== "",
    ).optional(),
    AutoReboot: boolean().default(true),
    EnableJumboFrame: refused(),
  },
  async ({ cloud, caller }, request) => {
    const { InstanceIds: ids, SecurityGroups: groups } = request;
    const modify = (change: InstanceChange) => () => cloud.instances.modify(caller, ids, change);
    const changes: (() => Promise<void>)[] = [];
    if (request.InstanceName !== undefined) changes.push(modify({ kind: "name", name: request.InstanceName }));
    if (request.UserData !== undefined) changes.push(modify({ kind: "userData", userData: request.UserData }));
    if (request.DisableApiTermination !== undefined) {
      changes.push(modify({ kind: "terminationProtection", on: request.DisableApiTermination }));
    }
    if (request.HostName !== undefined) {
      changes.push(modify({ kind: "hostname", hostname: request.HostName, restart: request.AutoReboot }));
    }
    if (groups !== undefined) changes.push(() => cloud.network.securityGroups.setGroups(caller, ids, groups));
    const [change, second] = changes;
    if (change === undefined) throw new Refusal("MissingParameter.AtLeastOne", "Give one attribute to change.");
    if (second !== undefined) throw new Refusal("InvalidParameter.AtMostOne", "Give one attribute per call.");
    await change();
    return {};
  },
);
