/** The values that more than one instance action takes, each checked the same way everywhere. */
import type { TagSpecification } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/v20170312/cvm_models.js";
import { isIp } from "../../core/addresses.ts";
import { userDataBytes } from "../../core/instance.ts";
import { networkLimits } from "../../core/network-limits.ts";
import { check, id, list, oneOf, structure, text } from "./parameters.ts";
import { keysDiffer, tagParameter } from "./tag-values.ts";

/** Base64 of at most 16 KB, as it was given. */
export function userData() {
  const base64 = check(
    // Four characters for three bytes; one more group so that the exact check below decides.
    text((Math.ceil(userDataBytes / 3) + 1) * 4),
    "InvalidParameterValue.InvalidUserDataFormat",
    "is not Base64",
    (value) => value.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(value),
  );
  return check(
    base64,
    "InvalidParameterValue.TooLong",
    `holds more than ${userDataBytes} bytes`,
    (value) => Buffer.byteLength(value, "base64") <= userDataBytes,
  );
}

const pattern = /\{R:\d{1,9}(?:,F:[0-8])?\}/g;

/** A host name for Linux, in which `{R:x}` and `{R:x,F:y}` stand for digits. */
export function hostName() {
  return check(
    text(60, "InvalidParameterValue.IllegalHostName"),
    "InvalidParameterValue.IllegalHostName",
    "is not a host name of 2 to 60 letters, digits, hyphens and dots, neither of which may begin, end or be repeated",
    (value) =>
      value === "" || (value.length >= 2 && /^[a-z0-9]+(?:[-.][a-z0-9]+)*$/i.test(value.replace(pattern, "0"))),
  );
}

/** A client token: what it names is kept, so it must name something. */
export function clientToken() {
  const short = check(
    text(64, "InvalidClientToken.TooLong"),
    "InvalidParameterValue.IncorrectFormat",
    "must be ASCII",
    (value) => /^[\x20-\x7e]*$/.test(value),
  );
  return check(short, "InvalidParameterValue.NotEmpty", "is empty", (value) => value !== "");
}

/** An IPv4 address without leading zeros. */
export function privateAddress() {
  return check(
    text(15, "InvalidParameterValue.Malformed"),
    "InvalidParameterValue.Malformed",
    "is no IPv4 address",
    isIp,
  );
}

export function securityGroupIds() {
  const ids = list(
    id("securityGroup", "InvalidSgId.Malformed"),
    networkLimits.groupsPerInstance,
    "LimitExceeded.AssociateUSGLimitExceeded",
  );
  return check(
    ids,
    "InvalidParameterValue.Duplicate",
    "holds an id twice",
    (given) => new Set(given).size === given.length,
  );
}

/** Tags to be bound at creation; only instances have tags. */
export function instanceTags() {
  const specification = structure<TagSpecification>()({
    ResourceType: oneOf(["instance"]),
    Tags: list(tagParameter("FailedOperation.IllegalTagKey"), 50, "InvalidParameterValue.TagQuotaLimitExceeded"),
  });
  const specifications = list(specification, 10);
  const few = check(
    specifications,
    "InvalidParameterValue.TagQuotaLimitExceeded",
    "has more than 50 tags",
    (given) => given.flatMap((each) => each.Tags).length <= 50,
  );
  return check(few, "InvalidParameterValue.DuplicateTags", "holds a tag key twice", (given) =>
    keysDiffer(given.flatMap((each) => each.Tags)),
  );
}

const passwordKinds = [/[a-z]/, /[A-Z]/, /[0-9]/, /[()`~!@#$%^&*\-+=|{}[\]:;',.?/]/];

/** A password for Linux by the API's own rule: 8 to 30 characters, two of four kinds, no slash at the start. */
export function password() {
  const known = /^[A-Za-z0-9()`~!@#$%^&*\-+=|{}[\]:;',.?/]{8,30}$/;
  return check(
    text(30, "InvalidPassword"),
    "InvalidPassword",
    "must have 8 to 30 letters, digits and signs of two kinds at least, and must not begin with a slash",
    (value) =>
      known.test(value) && !value.startsWith("/") && passwordKinds.filter((kind) => kind.test(value)).length >= 2,
  );
}

/** The name of a user inside the guest. */
export function guestUser() {
  return check(text(32), "InvalidParameterValue.IncorrectFormat", "is no user name", (value) =>
    /^[a-z_][a-z0-9_-]*$/.test(value),
  );
}
