/** Images: those of the folder, public to every account. */
import type { Images } from "../cloud.ts";
import type { AppContext } from "./context.ts";

export function images({ folder }: Pick<AppContext, "folder">): Images {
  return {
    async list(_caller, query, page) {
      const found = (await folder.all()).filter(
        ({ id, manifest }) =>
          (query.ids === undefined || query.ids.includes(id)) &&
          (query.name === undefined || query.name === manifest.name),
      );
      return { total: found.length, items: found.slice(page.offset, page.offset + page.limit) };
    },
  };
}
