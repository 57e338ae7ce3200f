/** The identity of a guest's boot, asked over the network as any outside observer would. */
import { ProbeClient } from "../../guest/probe-client.ts";

/** Another boot id means that the guest was started again. Throws when there is no answer in time. */
export async function bootIdOf(ip: string, deadlineMs = 5000): Promise<string> {
  const probe = await ProbeClient.connect(ip, { deadline: deadlineMs });
  try {
    return await probe.bootId(deadlineMs);
  } finally {
    probe.close();
  }
}
