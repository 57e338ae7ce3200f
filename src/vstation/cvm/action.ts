/**
 * What an action is: a name, its parameters, and the one use case it calls. Requests and answers are the SDK's own types, so a
 * field that no client knows does not compile.
 */
import * as z from "zod";
import type { Caller, Cloud } from "../cloud.ts";
import type { ActionName, Clients } from "./known-actions/known-actions.ts";
import { readParameters, type Documented, type Only } from "./parameters.ts";

export type RequestOf<A extends ActionName> = Parameters<Clients[A]>[0];
/** The handler adds RequestId. */
export type AnswerOf<A extends ActionName> = Omit<Awaited<ReturnType<Clients[A]>>, "RequestId">;

/** What is fixed for the process, as every action may need it. */
export interface Place {
  region: string;
  zones: readonly string[];
}

export interface Context {
  cloud: Cloud;
  caller: Caller;
  place: Place;
}

export interface Action {
  readonly name: ActionName;
  /** False for what is asked before a region is known. */
  readonly regional: boolean;
  readonly parameters: z.ZodObject;
  /** Reads the parameters and makes the one call; throws Refusals and the use cases' Failures. */
  call(context: Context, parameters: unknown): Promise<object>;
}

/** Declares an action; the first call fixes its SDK types, the second gives its parameters and what it does. */
export function action<A extends ActionName>(name: A, options: { regional?: boolean } = {}) {
  return <S extends Documented<RequestOf<A>>>(
    parameters: S & Only<S, RequestOf<A>>,
    handle: (context: Context, request: z.output<z.ZodObject<S, z.core.$strict>>) => Promise<AnswerOf<A>>,
  ): Action => {
    const schema = z.strictObject<S>(parameters);
    return {
      name,
      regional: options.regional ?? true,
      parameters: schema,
      call: (context, input) => handle(context, readParameters(schema, input)),
    };
  };
}

/** A time as CVM writes it: UTC, whole seconds. */
export function utcSeconds(time: Date): string {
  return `${time.toISOString().slice(0, 19)}Z`;
}
