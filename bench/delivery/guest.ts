/** The guest of this benchmark, and where one of its instances runs. */
import type { InstanceWire } from "../../src/api/native/resources.ts";
import type { LabHost, LabSession } from "../lab-session.ts";

export const imageId = "img-tiny0001";
export const instanceType = "T1.SMALL1";

export async function hostOf(lab: LabSession, instance: InstanceWire): Promise<LabHost> {
  const wire = (await lab.cloud.hosts()).find((each) => each.id === instance.hostId);
  if (wire === undefined) throw new Error(`${instance.id} is on no host`);
  return lab.host(wire.name);
}
