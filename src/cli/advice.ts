/**
 * What to do next, by the code of a refusal or of how an operation ended: for the codes for which there is something better to say than the
 * message alone.
 */

/** After the words that another policy is a way out. */
const policies =
  ": `./vstation instance migrate --help` says what each does; in a drain it is that of `./vstation host drain HOST --policy POLICY`";

export const advice: Readonly<Record<string, string>> = {
  EndpointUnreachable:
    "if it was just killed it is back within seconds: try again. Else `npm start` starts it, and `./vstation doctor` looks for what is wrong",
  NoCredentials:
    "start VStation (`npm start`), or point --home (VSTATION_HOME) at the folder that has credentials.json",
  CredentialsNotYours: "they are its owner's alone; run this as the user who started VStation, or as root",
  TokenInvalid: "credentials.json does not belong to this VStation; point --home at the right folder",
  WrongState: "`./vstation instance show ID` tells the present state",
  MustStop: "`--stop` stops it for that and starts it again",
  OperationInProgress:
    "`./vstation operation list --open` shows it; wait for its end and try again. A move is called off by `./vstation migration cancel INSTANCE`",
  MigrationSameHost: "leave --to out to get the host where it fits best",
  MigrationUnfinished: "`./vstation migration list --open` shows it",
  MigrationQueued: "`./vstation migration cancel INSTANCE` calls that one off",
  MigrationPolicyUnavailable: `another --policy${policies}`,
  MigrationCopyFailed:
    "`./vstation host show HOST --check` looks anew at its host and at the target; another target (`./vstation instance migrate INSTANCE --to HOST`)",
  MigrationCpuDiffers:
    "another target (`./vstation instance migrate INSTANCE --to HOST`); or a `cpuBaseline` for the zone that all hosts have, which counts from its next start",
  MigrationDiskDiffers:
    "mount the zone's folder at the target, or another target (`./vstation instance migrate INSTANCE --to HOST`)",
  MigrationDiskMissing:
    "mount the zone's folder at the target, or another target (`./vstation instance migrate INSTANCE --to HOST`)",
  MigrationGuestBlocked: "detach what is named, or stop and start the instance",
  MigrationInterrupted: "what began anew is back within seconds: move it again",
  MigrationLinkLost:
    "`./vstation host list` shows which of the two is out of reach; it can be moved again as soon as they have each other",
  MigrationMachineDiffers:
    "another target (`./vstation instance migrate INSTANCE --to HOST`); or bring both hosts to one release, and stop and start the instance",
  MigrationMemoryMissing:
    "another target (`./vstation instance migrate INSTANCE --to HOST`); `./vstation host show HOST` tells what the target has",
  MigrationNotInTime: `when it has less to do, or another --policy${policies}`,
  MigrationNotTrusted:
    "`./vstation host show HOST` tells of its certificate; `./vstation host add NAME --again` gives a lost one anew",
  MigrationStateLocal: "it can be stopped, not moved: what is named lies on its host",
  MigrationTargetRefused:
    "another target (`./vstation instance migrate INSTANCE --to HOST`); `./vstation host show HOST --check` looks anew at this one",
  MigrationTooLate:
    "`./vstation migration show INSTANCE` tells where it goes on; once it runs there it may be moved again",
  HostCordoned:
    "another --to; or `./vstation host uncordon HOST`, which ends a drain, too (`host show HOST` says whether there is one)",
  HostInUse:
    "`./vstation host drain HOST` moves what runs there; `instance list`, `disk list`, `snapshot list` and `migration list --open` show the rest, which is to be ended or deleted",
  HostNotReady: "`./vstation host show HOST --check` looks anew",
  Protected: "`./vstation instance set ID --no-protect` takes the protection off",
  InsufficientCapacity: "`./vstation type list` shows what fits; `./vstation host list` where the room is",
  ImageNameTaken:
    "choose another (`--name` of `image import`), or `./vstation image delete IMAGE`: one that failed or never came keeps its name, too",
  ImageFileDiffers:
    "send the file that was begun with, or `./vstation image delete IMAGE` first, which throws away what arrived, or take another `--name`",
  InstanceTypeUnknown: "`./vstation type list` shows those that there are",
  AccountNotFound: "`./vstation account list` shows those that there are",
  AccountNotEmpty: "`./vstation --account ACCOUNT instance list`, and the other `list` commands, show what it is",
  QuotaExceeded:
    "`./vstation account show ACCOUNT` tells what is used, and `account set-quota` raises a quota; what one VPC or group may have is fixed",
  KeyInUse: "`./vstation key list` shows by which instances",
  NameTaken: "choose another name, or delete the old one",
  NetworkInUse:
    "`instance list`, `subnet list`, `route-table list`, `nat-gateway list` and `security-group show` tell by what",
  NetworkIsDefault: "instances that name none get it; `instance run` takes others by --subnet and --security-group",
  CidrInvalid: "10.1.0.0/16 for a VPC, and 10.1.1.0/24 inside of it for a subnet, are such blocks",
  CidrOutside: "`./vstation vpc list` shows the VPC's range",
  CidrOverlap: "`./vstation subnet list --vpc VPC` shows which ranges are taken",
  AddressInUse: "leave --ip out to get a free one; `./vstation instance list --subnet SUBNET` shows who has it",
  AddressesExhausted:
    "make another subnet (`./vstation subnet create`); `./vstation subnet list` shows how many are free",
  PublicAddressesExhausted:
    "`./vstation address list` shows which are free to be released; the zone's pool is its operator's",
  ElasticAddressBound:
    "`./vstation address detach ADDRESS` takes one of your own from its instance; one that came with an instance goes with it alone",
  ElasticAddressUnbound: "`./vstation address list` shows which instance has which",
  InstanceHasElasticAddress: "`./vstation address list` shows it; detach that one first",
  LastSecurityGroup: "give it another group first: `./vstation instance set INSTANCE --security-group GROUP`",
  PolicyDuplicate: "the group says so already: `./vstation security-group show GROUP`",
  PolicyNotFound: "`./vstation security-group show GROUP` lists its rules",
  RouteExists: "take the present way out first: `./vstation route-table set TABLE --no-nat-gateway`",
  VpcMismatch: "`--vpc VPC` of the list commands shows what is in one VPC",
  HostUnreachable: "`./vstation host list` shows it; instances on it go on, their state is unknown until it is back",
  DeadlineExceeded:
    "it may still come true: look with `./vstation operation list`, for moves, disks and images with `migration list`, `disk list` and `image list`, for a drain with `host show HOST`",
  Internal: "see VStation's log for the request id; `./vstation doctor --bundle FILE.tar.gz` collects what to send",
};

/** One sentence, commands in backticks; undefined where the message says it all. */
export function nextStep(code: string): string | undefined {
  return Object.hasOwn(advice, code) ? advice[code] : undefined;
}
