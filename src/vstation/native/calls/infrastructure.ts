/** Hosts, operations, and what this service is. */
import { readinessSchema } from "../../../api/agent.ts";
import { hostAnswer, operationAnswer } from "../answers.ts";
import { defined, type Call, type Calls, type Service } from "../call.ts";
import type { OperationView } from "../../cloud.ts";

export const infrastructureCalls: Calls<
  | "hostList"
  | "hostGet"
  | "hostReadiness"
  | "hostInvite"
  | "hostModify"
  | "hostDrain"
  | "hostUndrain"
  | "hostRemove"
  | "operationList"
  | "operationGet"
  | "about"
> = {
  async hostList({ cloud }, { query }) {
    const { total, items } = await cloud.hosts.list(query);
    return { total, hosts: items.map(hostAnswer) };
  },

  async hostGet({ cloud }, { params }) {
    return hostAnswer(await cloud.hosts.get(params.id));
  },

  async hostReadiness({ cloud }, { params }) {
    return readinessSchema.parse(await cloud.hosts.ask(params.id, { kind: "readiness" }));
  },

  async hostInvite({ cloud }, { request }) {
    const invitation = await cloud.hosts.invite(request.name, request.again);
    return { ...invitation, expiresAt: invitation.expiresAt.toISOString() };
  },

  async hostModify({ cloud }, { params, request }) {
    await cloud.hosts.cordon(params.id, request.cordoned);
    return hostAnswer(await cloud.hosts.get(params.id));
  },

  async hostDrain({ cloud }, { params, request }) {
    await cloud.hosts.drain(params.id, request);
    return hostAnswer(await cloud.hosts.get(params.id));
  },

  async hostUndrain({ cloud }, { params, request }) {
    await cloud.hosts.undrain(params.id, request.cancel);
    return hostAnswer(await cloud.hosts.get(params.id));
  },

  hostRemove({ cloud }, { params, query }) {
    return cloud.hosts.remove(params.id, query.dead === "true");
  },

  async operationList({ cloud }, { query, operator }) {
    const { offset, limit, instanceId, state } = query;
    const page = { offset, limit };
    const { total, items } = await cloud.operations.list(
      operator,
      defined({ instanceIds: instanceId, states: state }),
      page,
    );
    return { total, operations: items.map(operationAnswer) };
  },

  async operationGet(service, call) {
    return operationAnswer(await operationEnded(service, call));
  },

  about({ cloud, version }) {
    return Promise.resolve({ version, region: cloud.catalogue.region, zones: [...cloud.catalogue.zones] });
  },
};

/** The operation once it has ended, or as it is when the wait is over. Listens first, then reads: nothing falls between. */
async function operationEnded({ cloud, changes }: Service, call: Call<"operationGet">): Promise<OperationView> {
  const { params, query, operator, signal } = call;
  const until = performance.now() + query.wait * 1000;
  for (;;) {
    const left = until - performance.now();
    using change = changes.watch("operation", params.id);
    const view = await cloud.operations.get(operator, params.id);
    if (view.state === "SUCCEEDED" || view.state === "FAILED" || left <= 0 || signal.aborted) return view;
    await change.happened(left, signal);
  }
}
