/** The tables of actions against the official SDK: all that it has, and each that is offered in its service. */
import { cbs } from "tencentcloud-sdk-nodejs/tencentcloud/services/cbs/index.js";
import { cvm } from "tencentcloud-sdk-nodejs/tencentcloud/services/cvm/index.js";
import { tag } from "tencentcloud-sdk-nodejs/tencentcloud/services/tag/index.js";
import { vpc } from "tencentcloud-sdk-nodejs/tencentcloud/services/vpc/index.js";
import { describe, expect, it } from "vitest";
import { actions, offered } from "./actions.ts";
import { serviceOf, services } from "./known-actions/known-actions.ts";

describe("the tables", () => {
  it.each([
    ["cvm", cvm.v20170312.Client.prototype, 106],
    ["vpc", vpc.v20170312.Client.prototype, 448],
    ["cbs", cbs.v20170312.Client.prototype, 61],
    ["tag", tag.v20180813.Client.prototype, 31],
  ] as const)("know exactly the actions of the SDK: %s", (service, prototype, count) => {
    const methods = Object.getOwnPropertyNames(prototype).filter((name) => name !== "constructor");
    expect(services[service].actions).toEqual(methods.toSorted());
    expect(methods).toHaveLength(count);
  });

  it("have no name twice, in one service or in two", () => {
    const names = Object.values(services).flatMap(({ actions: all }): string[] => [...all]);
    expect(new Set(names).size).toBe(names.length);
  });

  it("offer each action once, in its own service", () => {
    const names = actions.map((action) => action.name);
    expect(new Set(names).size).toBe(names.length);
    for (const [service, its] of Object.entries(offered)) {
      expect(its.filter(({ name }) => serviceOf(name) !== service)).toEqual([]);
    }
  });
});
