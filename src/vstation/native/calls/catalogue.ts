/** What instances are made of: types, images, keys, groups. */
import { groupAnswer, imageAnswer, instanceTypeAnswer, keyAnswer } from "../answers.ts";
import { defined, type Calls } from "../call.ts";

export const catalogueCalls: Calls<
  | "imageList"
  | "instanceTypeList"
  | "imageGet"
  | "imageImport"
  | "imageContentDigest"
  | "imageCreate"
  | "imageModify"
  | "imageDelete"
  | "keyList"
  | "keyCreate"
  | "keyImport"
  | "keyDelete"
  | "groupList"
  | "groupCreate"
  | "groupDelete"
> = {
  async instanceTypeList({ cloud }) {
    const room = await cloud.catalogue.room();
    const { zones, types } = cloud.catalogue;
    return {
      zone: zones[0] ?? "",
      total: types.length,
      instanceTypes: types.map((type) => instanceTypeAnswer(type, room.get(type.name) ?? 0)),
    };
  },

  async imageList({ cloud }, { query, operator }) {
    const { offset, limit, id, name } = query;
    const { total, items } = await cloud.images.list(operator, defined({ ids: id, name }), { offset, limit });
    return { total, images: items.map(imageAnswer) };
  },

  async imageGet({ cloud }, { params, operator }) {
    return imageAnswer(await cloud.images.get(operator, params.id));
  },

  async imageImport({ cloud }, { request, owner }) {
    const { url, bytes, public: isPublic, secureBoot, tpm, hyperv, ...asked } = request;
    const from = url === undefined ? { upload: bytes ?? 0 } : { url };
    const image = await cloud.images.import(owner, {
      ...asked,
      machine: { secureBoot, tpm, hyperv },
      from,
      isPublic,
      dryRun: false,
    });
    if (image === undefined) throw new Error("an import that was no dry run made nothing");
    return imageAnswer(image);
  },

  async imageContentDigest({ cloud }, { params, query, operator }) {
    return { sha256: await cloud.images.digest(operator, params.id, query) };
  },

  async imageCreate({ cloud }, { request, owner }) {
    const image = await cloud.images.create(owner, { ...request, dryRun: false });
    if (image === undefined) throw new Error("a making that was no dry run made nothing");
    return imageAnswer(image);
  },

  async imageModify({ cloud }, { params, request, operator }) {
    return imageAnswer(await cloud.images.modify(operator, params.id, defined(request)));
  },

  async imageDelete({ cloud }, { params, operator }) {
    await cloud.images.delete(operator, [params.id], { dryRun: false });
    return {};
  },

  async keyList({ cloud }, { query, owner }) {
    const { offset, limit, id, name } = query;
    const { total, items } = await cloud.keys.list(owner, defined({ ids: id, names: name }), { offset, limit });
    return { total, keys: items.map(keyAnswer) };
  },

  async keyCreate({ cloud }, { request, owner }) {
    const { key, privateKey } = await cloud.keys.create(owner, request.name);
    return { key: keyAnswer(key), privateKey };
  },

  async keyImport({ cloud }, { request, owner }) {
    return keyAnswer(await cloud.keys.import(owner, request.name, request.publicKey));
  },

  async keyDelete({ cloud }, { params, owner }) {
    await cloud.keys.delete(owner, [params.id]);
    return {};
  },

  async groupList({ cloud }, { query, owner }) {
    const { offset, limit, id, name } = query;
    const { total, items } = await cloud.groups.list(owner, defined({ ids: id, name }), { offset, limit });
    return { total, groups: items.map(groupAnswer) };
  },

  async groupCreate({ cloud }, { request, owner }) {
    return groupAnswer(await cloud.groups.create(owner, { ...request, clientToken: null }));
  },

  async groupDelete({ cloud }, { params, owner }) {
    await cloud.groups.delete(owner, [params.id]);
    return {};
  },
};
