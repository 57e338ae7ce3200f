/** The ways in which the official SDK can call, and how it takes a refusal; the `Cloud` is a fake: wire rules only. */
import { describe, expect, it } from "vitest";
import { failure } from "../../core/failure-codes.ts";
import { actions } from "./actions.ts";
import { services, type Service } from "./known-actions/known-actions.ts";
import { commonClient, cvmClient, minimal, sdkForAll } from "./sdk.fake.ts";

const { calls, state, client, port } = await sdkForAll();

describe("the other ways to call", () => {
  it("take GET with flattened parameters", async () => {
    const get = cvmClient(port, { reqMethod: "GET" });
    calls.length = 0;
    const { InstanceIdSet = [] } = await get.RunInstances({
      ...minimal,
      InstanceCount: 2,
      InstanceName: "über 1+1 & 🙂",
      DryRun: false,
    });
    expect(InstanceIdSet).toHaveLength(2);
    expect(calls[0]?.args[1]).toMatchObject({ count: 2, name: "über 1+1 & 🙂", dryRun: false });
    expect(await get.DescribeInstances({ InstanceIds: InstanceIdSet, Limit: 1 })).toMatchObject({ TotalCount: 2 });
    const filtered = { Filters: [{ Name: "zone", Values: ["lab-1", "lab-2"] }] };
    await get.DescribeInstances(filtered);
    expect(calls.at(-1)?.args[1]).toEqual({ zones: ["lab-1", "lab-2"] });
    await expect(get.DescribeInstances({ Limit: 1000 })).rejects.toMatchObject({ code: "InvalidParameterValueLimit" });
  });

  it("take an endpoint with a path", async () => {
    expect(await cvmClient(port, { path: "/cvm" }).DescribeZones(null)).toMatchObject({ TotalCount: 2 });
  });

  it("refuse a wrong key, an unknown region, and an action that is not offered", async () => {
    await expect(cvmClient(port, { secretKey: "wrong" }).DescribeZones(null)).rejects.toMatchObject({
      code: "AuthFailure.SignatureFailure",
      requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
    });
    await expect(cvmClient(port, { region: "elsewhere" }).DescribeZones(null)).rejects.toMatchObject({
      code: "UnsupportedRegion",
    });
    const names = new Set<string>(actions.map((action) => action.name));
    for (const service of Object.keys(services) as Service[]) {
      const { version, actions: all } = services[service];
      const common = commonClient(port, version);
      for (const name of all.filter((each) => !names.has(each))) {
        await expect(common.request(name, {})).rejects.toMatchObject({
          code: "UnsupportedOperation",
          message: `${name} is not offered here.`,
        });
      }
    }
    await expect(commonClient(port, "2018-08-13").request("DescribeZones", {})).rejects.toMatchObject({
      code: "NoSuchVersion",
    });
  });

  it("carry a use case's failure as CVM's code, and nothing of our inside", async () => {
    state.fail = failure("WrongState", "The instance runs.", { detail: { state: "RUNNING" } });
    await expect(client.StartInstances({ InstanceIds: ["ins-00000001"] })).rejects.toMatchObject({
      code: "UnsupportedOperation.InstanceStateRunning",
      message: "The instance runs.",
    });
    state.fail = new Error("password is hunter2");
    const failed = client.DescribeInstances({});
    await expect(failed).rejects.toMatchObject({ code: "InternalError" });
    await expect(failed).rejects.not.toThrow(/hunter2/);
    state.fail = undefined;
  });
});
