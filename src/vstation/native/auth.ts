/** Who asks: the operator's bearer token, compared in constant time by the use cases. */
import { Failure } from "../../lib/errors.ts";
import type { Cloud } from "../cloud.ts";

const maxToken = 512;

/** The token of an Authorization header, if it has the form of one. */
export function tokenOf(authorization: string | undefined): string | undefined {
  const [scheme, token, ...rest] = (authorization ?? "").split(" ");
  return scheme?.toLowerCase() === "bearer" && rest.length === 0 ? token : undefined;
}

/** Throws `unauthenticated` unless the header carries the operator's token. */
export function requireToken(cloud: Cloud, authorization: string | undefined): void {
  requireTokenItself(cloud, tokenOf(authorization));
}

export function requireTokenItself(cloud: Cloud, token: string | undefined): void {
  if (token !== undefined && token !== "" && token.length <= maxToken && cloud.operatorTokenValid(token)) return;
  throw new Failure(
    "unauthenticated",
    "TokenInvalid",
    "send the operator's token as `Authorization: Bearer TOKEN`; it is `nativeToken` in credentials.json",
  );
}
