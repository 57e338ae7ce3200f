/**
 * The mark that each domain of ours carries in its metadata: which start it is (epoch, incarnation) and how many resets were done.
 * It lets a Compute that lost its own records, or a person with virsh, tell what runs.
 */
import { createHash } from "node:crypto";
import type { Mark } from "../../core/ensure.ts";
import type { InstanceId } from "../../lib/ids.ts";

export const markUri = "urn:vstation:instance";
export const markPrefix = "vstation";

/** The element as libvirt stores it; `domainMetadataSet` takes it without the namespace declaration too. */
export function markElement(mark: Mark): string {
  const { epoch, incarnation, resets } = mark;
  return `<start epoch='${epoch}' incarnation='${incarnation}' resets='${resets}'/>`;
}

const attribute = (name: string): RegExp => new RegExp(`\\s${name}=['"](\\d{1,15})['"]`);
const [epochAt, incarnationAt, resetsAt] = [attribute("epoch"), attribute("incarnation"), attribute("resets")];

/** Reads {@link markElement}'s text back; null if it is not one. */
export function parseMark(xml: string): Mark | null {
  const epoch = epochAt.exec(xml)?.[1];
  const incarnation = incarnationAt.exec(xml)?.[1];
  const resets = resetsAt.exec(xml)?.[1];
  if (epoch === undefined || incarnation === undefined || resets === undefined) return null;
  return { epoch: Number(epoch), incarnation: Number(incarnation), resets: Number(resets) };
}

/** The domain's uuid: derived, so that a lost record or a second definition can never make two domains of one instance. */
export function domainUuid(id: InstanceId): string {
  const hash = createHash("sha256").update(`vstation instance ${id}`).digest();
  hash.writeUInt8((hash.readUInt8(6) & 0x0f) | 0x80, 6);
  hash.writeUInt8((hash.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = hash.toString("hex", 0, 16);
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
}
