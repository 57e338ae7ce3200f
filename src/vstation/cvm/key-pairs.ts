/** Key pairs. They have no project and no tags; the private key is in the answer to CreateKeyPair and nowhere else. */
import type { KeyView } from "../cloud.ts";
import { action, utcSeconds, type AnswerOf } from "./action.ts";
import { Refusal } from "./error-codes.ts";
import { filters, filterValues, notBoth } from "./filters.ts";
import { boolean, check, id, idsToChange, idsToRead, integer, line, page, refused, text } from "./parameters.ts";

type Shown = NonNullable<AnswerOf<"DescribeKeyPairs">["KeyPairSet"]>[number];

const ProjectId = integer(0, 0, "InvalidProjectId.NotFound");
const TagSpecification = refused("UnsupportedOperation", "asks for tags, which only instances have here");

const KeyName = check(
  check(text(25, "InvalidKeyPairNameTooLong"), "InvalidKeyPairNameEmpty", "is empty", (name) => name !== ""),
  "InvalidKeyPairNameIncludeIllegalChar",
  "may hold letters, digits and underscores only",
  (name) => /^\w+$/.test(name),
);

export const createKeyPair = action("CreateKeyPair")(
  { KeyName, ProjectId, TagSpecification },
  async ({ cloud, caller }, request) => {
    const { key, privateKey } = await cloud.keys.create(caller, request.KeyName);
    return { KeyPair: { ...shownKey(key), PrivateKey: privateKey } };
  },
);

export const importKeyPair = action("ImportKeyPair")(
  { KeyName, ProjectId, PublicKey: text(8192, "InvalidPublicKey.Malformed"), TagSpecification },
  async ({ cloud, caller }, request) => {
    const key = await cloud.keys.import(caller, request.KeyName, request.PublicKey);
    return { KeyId: key.id };
  },
);

export const describeKeyPairs = action("DescribeKeyPairs")(
  {
    KeyIds: idsToRead("key", 100).optional(),
    Filters: filters(["project-id", "key-name", "tag-key", "tag-value", "tag:"], 5),
    ...page,
  },
  async ({ cloud, caller }, request) => {
    const ids = request.KeyIds ?? [];
    const { "key-name": names, "project-id": projects, ...others } = Object.fromEntries(filterValues(request.Filters));
    notBoth(ids, request.Filters, "KeyIds", "InvalidParameterCombination");
    // What is left asks for tags, and no key pair has one.
    if (Object.keys(others).length > 0 || projects?.includes("0") === false) return { TotalCount: 0, KeyPairSet: [] };
    const { total, items } = await cloud.keys.list(
      caller,
      { ...(ids.length > 0 ? { ids } : {}), ...(names === undefined ? {} : { names }) },
      { offset: request.Offset, limit: request.Limit },
    );
    return { TotalCount: total, KeyPairSet: items.map(shownKey) };
  },
);

export const deleteKeyPairs = action("DeleteKeyPairs")(
  { KeyIds: idsToChange("key", 100) },
  async ({ cloud, caller }, request) => {
    await cloud.keys.delete(caller, request.KeyIds);
    return {};
  },
);

export const modifyKeyPairAttribute = action("ModifyKeyPairAttribute")(
  { KeyId: id("key"), KeyName: KeyName.optional(), Description: line(60).optional() },
  async ({ cloud, caller }, request) => {
    const { KeyId, KeyName: name, Description: description } = request;
    if (name === undefined && description === undefined)
      throw new Refusal("MissingParameter.AtLeastOne", "Give `KeyName` or `Description`.");
    await cloud.keys.modify(caller, KeyId, {
      ...(name === undefined ? {} : { name }),
      ...(description === undefined ? {} : { description }),
    });
    return {};
  },
);

/** The guest lets the keys in, or not any more, from its next start on: see docs/decisions/0016-tenants.md. */
const binding = {
  InstanceIds: idsToChange("instance", 100),
  KeyIds: idsToChange("key", 16),
  ForceStop: boolean().default(false),
};

export const associateInstancesKeyPairs = action("AssociateInstancesKeyPairs")(
  binding,
  async ({ cloud, caller }, request) => {
    await cloud.keys.bind(caller, request.InstanceIds, request.KeyIds, request.ForceStop);
    return {};
  },
);

export const disassociateInstancesKeyPairs = action("DisassociateInstancesKeyPairs")(
  binding,
  async ({ cloud, caller }, request) => {
    await cloud.keys.unbind(caller, request.InstanceIds, request.KeyIds, request.ForceStop);
    return {};
  },
);

function shownKey(key: KeyView): Shown {
  return {
    KeyId: key.id,
    KeyName: key.name,
    ProjectId: 0,
    Description: key.description,
    PublicKey: key.publicKey,
    AssociatedInstanceIds: key.instanceIds,
    CreatedTime: utcSeconds(key.createdAt),
    Tags: [],
  };
}
