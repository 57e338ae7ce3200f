/**
 * Every route of the native API, in one table: what is not here does not exist. To find a route's code, search for its key:
 * the server's calls (src/vstation/native/calls) and the client's users have the same names.
 */
import * as z from "zod";
import * as ask from "./requests.ts";
import * as answer from "./resources.ts";
import { route } from "./route.ts";
import { elasticAddressRoutes } from "./elastic-addresses.ts";
import { migrationRoutes } from "./migrations.ts";
import { networkRoutes } from "./network.ts";
import { securityGroupRoutes } from "./security-groups.ts";
import { storageRoutes } from "./storage.ts";
import { tenancyRoutes } from "./tenancy.ts";

const instances = {
  instanceList: route({
    method: "GET",
    path: "/v1/instances",
    tag: "instances",
    summary: "Lists instances, oldest first",
    query: ask.instanceQuery,
    response: answer.instancesAnswer,
  }),
  instanceGet: route({
    method: "GET",
    path: "/v1/instances/{id}",
    tag: "instances",
    summary: "Shows an instance",
    params: ask.instanceParams,
    response: answer.instanceSchema,
    errors: ["not_found"],
  }),
  instanceRun: route({
    method: "POST",
    path: "/v1/instances",
    tag: "instances",
    summary: "Creates and starts instances",
    request: ask.instanceRunRequest,
    response: answer.runAnswer,
    status: 202,
    errors: ["not_found", "conflict", "limit", "no_capacity", "unsupported"],
  }),
  instanceModify: route({
    method: "PATCH",
    path: "/v1/instances/{id}",
    tag: "instances",
    summary: "Changes one property of an instance",
    params: ask.instanceParams,
    request: ask.instanceChangeRequest,
    response: answer.instanceSchema,
    errors: ["not_found", "conflict"],
  }),
  instanceStart: route({
    method: "POST",
    path: "/v1/instances:start",
    tag: "instances",
    summary: "Starts stopped instances",
    request: ask.instancesRequest,
    response: answer.startedAnswer,
    status: 202,
    errors: ["not_found", "conflict", "no_capacity"],
  }),
  instanceStop: route({
    method: "POST",
    path: "/v1/instances:stop",
    tag: "instances",
    summary: "Stops running instances",
    request: ask.instancesPowerRequest,
    response: answer.startedAnswer,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
  instanceReboot: route({
    method: "POST",
    path: "/v1/instances:reboot",
    tag: "instances",
    summary: "Reboots running instances",
    request: ask.instancesPowerRequest,
    response: answer.startedAnswer,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
  instanceResize: route({
    method: "POST",
    path: "/v1/instances:resize",
    tag: "instances",
    summary: "Gives an instance another type; no operation comes of it when it is of that type already",
    request: ask.instanceResizeRequest,
    response: answer.startedAnswer,
    status: 202,
    errors: ["not_found", "conflict", "no_capacity", "limit"],
  }),
  instanceReinstall: route({
    method: "POST",
    path: "/v1/instances/{id}/reinstall",
    tag: "instances",
    summary: "Gives an instance a new system disk and starts it from that; what was on the former one is lost",
    params: ask.instanceParams,
    request: ask.instanceReinstallRequest,
    response: answer.startedAnswer,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
  instanceTerminate: route({
    method: "POST",
    path: "/v1/instances:terminate",
    tag: "instances",
    summary: "Ends instances for good, disks included",
    request: ask.instancesRequest,
    response: answer.startedAnswer,
    status: 202,
    errors: ["not_found", "conflict"],
  }),
  instanceConsoleLog: route({
    method: "GET",
    path: "/v1/instances/{id}/console-log",
    tag: "instances",
    summary: "The end of what the guest wrote to its serial console",
    params: ask.instanceParams,
    query: ask.consoleLogQuery,
    response: answer.consoleLogAnswer,
    errors: ["not_found", "conflict"],
  }),
};

const infrastructure = {
  hostList: route({
    method: "GET",
    path: "/v1/hosts",
    tag: "hosts",
    summary: "Lists hosts",
    query: ask.pageQuery,
    response: answer.hostsAnswer,
  }),
  hostGet: route({
    method: "GET",
    path: "/v1/hosts/{id}",
    tag: "hosts",
    summary: "Shows a host: shape, room, versions, readiness",
    params: ask.hostParams,
    response: answer.hostSchema,
    errors: ["not_found"],
  }),
  hostReadiness: route({
    method: "GET",
    path: "/v1/hosts/{id}/readiness",
    tag: "hosts",
    summary: "Runs the host's readiness checks anew",
    params: ask.hostParams,
    response: answer.readinessAnswer,
    errors: ["not_found", "conflict"],
  }),
  hostInvite: route({
    method: "POST",
    path: "/v1/hosts:invite",
    tag: "hosts",
    summary: "Makes a token with which a machine may join",
    request: ask.hostInviteRequest,
    response: answer.hostInvitation,
    errors: ["conflict"],
  }),
  hostModify: route({
    method: "PATCH",
    path: "/v1/hosts/{id}",
    tag: "hosts",
    summary: "Cordons or uncordons a host; one that is uncordoned is not drained any more",
    params: ask.hostParams,
    request: ask.hostChangeRequest,
    response: answer.hostSchema,
    errors: ["not_found"],
  }),
  hostDrain: route({
    method: "POST",
    path: "/v1/hosts/{id}/drain",
    tag: "hosts",
    summary: "Cordons a host and moves its running guests elsewhere; asked again, also those that were given up",
    params: ask.hostParams,
    request: ask.hostDrainRequest,
    response: answer.hostSchema,
    status: 202,
    errors: ["not_found"],
  }),
  hostUndrain: route({
    method: "POST",
    path: "/v1/hosts/{id}/undrain",
    tag: "hosts",
    summary: "Ends a drain and uncordons the host; what is on its way goes on unless it is to be called off",
    params: ask.hostParams,
    request: ask.hostUndrainRequest,
    response: answer.hostSchema,
    errors: ["not_found"],
  }),
  hostRemove: route({
    method: "DELETE",
    path: "/v1/hosts/{id}",
    tag: "hosts",
    summary: "Takes a host out that has no instances",
    params: ask.hostParams,
    query: ask.hostRemoveQuery,
    response: answer.hostRemovedAnswer,
    errors: ["not_found", "conflict"],
  }),
  operationList: route({
    method: "GET",
    path: "/v1/operations",
    tag: "operations",
    summary: "Lists operations, newest first",
    query: ask.operationQuery,
    response: answer.operationsAnswer,
  }),
  operationGet: route({
    method: "GET",
    path: "/v1/operations/{id}",
    tag: "operations",
    summary: "Shows an operation; with `wait`, once it has ended",
    params: ask.operationParams,
    query: ask.operationGetQuery,
    response: answer.operationSchema,
    errors: ["not_found"],
  }),
  about: route({
    method: "GET",
    path: "/v1/about",
    tag: "service",
    summary: "Version, region and zones",
    response: answer.aboutAnswer,
  }),
};

const catalogue = {
  instanceTypeList: route({
    method: "GET",
    path: "/v1/instance-types",
    tag: "catalogue",
    summary: "Lists instance types and how many more of each would fit",
    response: answer.instanceTypesAnswer,
  }),
  imageList: route({
    method: "GET",
    path: "/v1/images",
    tag: "catalogue",
    summary: "Lists images",
    query: ask.imageQuery,
    response: answer.imagesAnswer,
  }),
  imageGet: route({
    method: "GET",
    path: "/v1/images/{id}",
    tag: "catalogue",
    summary: "Shows an image, and how far its import is",
    params: ask.imageParams,
    response: answer.imageSchema,
    errors: ["not_found"],
  }),
  imageImport: route({
    method: "POST",
    path: "/v1/images",
    tag: "catalogue",
    summary: "Takes in an image by a URL, or announces its file; announced again, it goes on with what is there of it",
    request: ask.imageImportRequest,
    response: answer.imageSchema,
    status: 202,
    errors: ["conflict", "limit"],
  }),
  imageContentDigest: route({
    method: "GET",
    path: "/v1/images/{id}/content/digest",
    tag: "catalogue",
    summary: "Tells SHA-256 of a part of the file that is here so far, for who wants to go on sending it",
    params: ask.imageParams,
    query: ask.imageContentDigestQuery,
    response: answer.imageContentDigestAnswer,
    errors: ["not_found", "conflict", "forbidden"],
  }),
  imageCreate: route({
    method: "POST",
    path: "/v1/images:create",
    tag: "catalogue",
    summary: "Makes an image of an instance's system disk",
    request: ask.imageCreateRequest,
    response: answer.imageSchema,
    status: 202,
    errors: ["not_found", "conflict", "limit", "unavailable"],
  }),
  imageModify: route({
    method: "PATCH",
    path: "/v1/images/{id}",
    tag: "catalogue",
    summary: "Changes an image's name or description",
    params: ask.imageParams,
    request: ask.imageChangeRequest,
    response: answer.imageSchema,
    errors: ["not_found", "conflict", "forbidden"],
  }),
  imageDelete: route({
    method: "DELETE",
    path: "/v1/images/{id}",
    tag: "catalogue",
    summary: "Deletes an image; instances that use it keep it until the last of them is gone",
    params: ask.imageParams,
    response: answer.doneAnswer,
    errors: ["not_found", "forbidden"],
  }),
  keyList: route({
    method: "GET",
    path: "/v1/keys",
    tag: "keys",
    summary: "Lists key pairs",
    query: ask.keyQuery,
    response: answer.keysAnswer,
  }),
  keyCreate: route({
    method: "POST",
    path: "/v1/keys",
    tag: "keys",
    summary: "Makes a key pair; the private half is in this answer and nowhere else",
    request: ask.keyCreateRequest,
    response: answer.keyCreatedAnswer,
    status: 201,
    errors: ["conflict", "limit"],
  }),
  keyImport: route({
    method: "POST",
    path: "/v1/keys:import",
    tag: "keys",
    summary: "Takes in a public key",
    request: ask.keyImportRequest,
    response: answer.keySchema,
    status: 201,
    errors: ["conflict", "limit"],
  }),
  keyDelete: route({
    method: "DELETE",
    path: "/v1/keys/{id}",
    tag: "keys",
    summary: "Deletes a key pair that no instance uses",
    params: ask.keyParams,
    response: answer.doneAnswer,
    errors: ["not_found", "conflict"],
  }),
  groupList: route({
    method: "GET",
    path: "/v1/groups",
    tag: "groups",
    summary: "Lists disaster-recover groups",
    query: ask.groupQuery,
    response: answer.groupsAnswer,
  }),
  groupCreate: route({
    method: "POST",
    path: "/v1/groups",
    tag: "groups",
    summary: "Makes a disaster-recover group",
    request: ask.groupCreateRequest,
    response: answer.groupSchema,
    status: 201,
    errors: ["conflict", "limit", "unsupported"],
  }),
  groupDelete: route({
    method: "DELETE",
    path: "/v1/groups/{id}",
    tag: "groups",
    summary: "Deletes an empty group",
    params: ask.groupParams,
    response: answer.doneAnswer,
    errors: ["not_found", "conflict"],
  }),
};

/** JSON in, JSON out. */
export const routes = {
  ...instances,
  ...storageRoutes,
  ...networkRoutes,
  ...securityGroupRoutes,
  ...elasticAddressRoutes,
  ...migrationRoutes,
  ...infrastructure,
  ...catalogue,
  ...tenancyRoutes,
};

export type Routes = typeof routes;
export type RouteName = keyof Routes;
export const routeNames = Object.keys(routes) as RouteName[];

type In<S extends z.ZodType> = z.input<S>;
/** What a client hands to a route; parts without a required field may be left out. */
export type RouteInput<N extends RouteName> = Optional<"params", In<Routes[N]["params"]>> &
  Optional<"query", In<Routes[N]["query"]>> &
  Optional<"request", In<Routes[N]["request"]>>;
/** A part is optional when nothing in it is required, or when it takes nothing (then any key is typed `never`). */
type Optional<K extends string, T> = string extends keyof T
  ? { [key in K]?: T }
  : Partial<T> extends T
    ? { [key in K]?: T }
    : { [key in K]: T };
/** What comes back. */
export type RouteAnswer<N extends RouteName> = z.output<Routes[N]["response"]>;

/** The routes that are no JSON: streams, and what programs of others read. */
export const rawRoutes = {
  events: {
    path: "/v1/events",
    tag: "events",
    summary: "Follows changes as server-sent events",
    description:
      "Each event is named `change`; its data is a ChangeEvent and its id resumes the stream by `Last-Event-ID`. " +
      "A comment line comes when the stream is live and again while nothing happens. " +
      "Events carry no state: on each one, and whenever the stream begins anew, read again what you show.",
    params: z.strictObject({}),
    query: ask.eventQuery,
    mediaType: "text/event-stream",
    token: true,
  },
  console: {
    path: "/v1/instances/{id}/console",
    tag: "instances",
    summary: "The serial console as a WebSocket",
    description:
      "Binary frames are bytes of the terminal, both ways. Text frames come from the server only and are JSON: " +
      '`{"type":"history","bytes":N,"truncated":B}` before past output, `{"type":"live"}` after it, and ' +
      '`{"type":"closed","reason":"..."}` before the end. The token stands in Authorization or, for browsers, in the ' +
      "subprotocol `bearer.TOKEN` beside `vstation.console`.",
    params: ask.instanceParams,
    query: ask.consoleQuery,
    mediaType: undefined,
    token: true,
  },
  imageContent: {
    method: "PUT",
    path: "/v1/images/{id}/content",
    tag: "catalogue",
    summary: "Sends the next part of an announced image file",
    description:
      `The body is at most ${ask.maxImagePart} bytes of the file, from \`offset\` on. The answer is \`{"received": N}\`: all that is there ` +
      "now. A part that broke off counts as far as it came; `received` of the image says where to go on.",
    params: ask.imageParams,
    query: ask.imageContentQuery,
    mediaType: "application/json",
    token: true,
  },
  healthz: {
    path: "/healthz",
    tag: "service",
    summary: "200 while requests can be served, else 503",
    description: "Reads the database. Needs no token.",
    params: z.strictObject({}),
    query: z.strictObject({}),
    mediaType: "text/plain",
    token: false,
  },
  metrics: {
    path: "/metrics",
    tag: "service",
    summary: "Metrics in Prometheus' text format",
    description: "Give Prometheus the token with `authorization: {credentials_file: ...}`.",
    params: z.strictObject({}),
    query: z.strictObject({}),
    mediaType: "text/plain",
    token: true,
  },
  openapi: {
    path: "/openapi.json",
    tag: "service",
    summary: "This document",
    description: "Needs no token.",
    params: z.strictObject({}),
    query: z.strictObject({}),
    mediaType: "application/json",
    token: false,
  },
} as const;

/** True for a path that the native API serves; everything else on the listener is the CVM API's. */
export function isNativePath(path: string): boolean {
  return path.startsWith("/v1/") || path === "/healthz" || path === "/metrics" || path === "/openapi.json";
}
