/** What instances are made of: types, images, keys, groups. */
import { groupAnswer, imageAnswer, instanceTypeAnswer, keyAnswer } from "../answers.ts";
import { defined, type Calls } from "../call.ts";

export const catalogueCalls: Calls<
  | "imageList"
  | "instanceTypeList"
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
    return {
      zone: cloud.catalogue.zones[0] ?? "",
      instanceTypes: cloud.catalogue.types.map((type) => instanceTypeAnswer(type, room.get(type.name) ?? 0)),
    };
  },

  async imageList({ cloud }, { query, operator }) {
    const { offset, limit, id, name } = query;
    const { total, items } = await cloud.images.list(operator, defined({ ids: id, name }), { offset, limit });
    return { total, images: items.map(imageAnswer) };
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
