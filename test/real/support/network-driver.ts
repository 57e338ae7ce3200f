/**
 * Compute's network by itself, for tests that need many guests and no QEMU: reads lines {do, network, peers, guests} from standard
 * input, does what the line says on the real kernel, and answers each with a line {ok} or {error}.
 */
import { createInterface } from "node:readline";
import * as z from "zod";
import {
  peerSchema,
  wantedSecurityGroupSchema,
  wantedSubnetSchema,
  wantedVpcSchema,
  type InstanceSpec,
} from "../../../src/api/agent.ts";
import { formatError } from "../../../src/lib/errors.ts";
import { idSchema } from "../../../src/lib/ids.ts";
import { createLog } from "../../../src/lib/log.ts";
import { subjectAt } from "../../../src/compute/metadata/document.ts";
import { Metadata } from "../../../src/compute/metadata/metadata.ts";
import { Network } from "../../../src/compute/network/network.ts";

export const orderSchema = z.strictObject({
  do: z.enum(["changed", "check", "guard", "guests"]),
  network: z
    .strictObject({
      vpcs: z.array(wantedVpcSchema),
      subnets: z.array(wantedSubnetSchema),
      securityGroups: z.array(wantedSecurityGroupSchema),
    })
    .nullable(),
  peers: z.array(peerSchema),
  guests: z.array(z.tuple([idSchema("instance"), z.custom<InstanceSpec>()])),
});
export type NetworkOrder = z.infer<typeof orderSchema>;

if (process.argv[2] !== undefined) {
  const [, , directory, underlayAddress = ""] = process.argv;
  let order: NetworkOrder = { do: "check", network: null, peers: [], guests: [] };
  const network = new Network({
    directory: directory ?? "",
    underlayAddress,
    underlayDevice: "eth0",
    log: createLog("network"),
    wanted: () => ({ network: order.network, peers: order.peers }),
    guests: () => order.guests,
    serveIn: (routers) => metadata.ensure(routers),
  });
  const place = { region: "test", zone: "test-1" };
  const metadata = new Metadata((vpc, address) =>
    subjectAt(vpc, address, { subnets: network.subnets, guests: order.guests, place }),
  );
  const work = async (): Promise<void> => {
    switch (order.do) {
      case "changed":
        return network.changed();
      case "check":
        return network.check();
      case "guard":
        return network.guard();
      case "guests":
        await Promise.all(order.guests.map(([id, spec]) => network.ensureGuest(id, spec)));
        return network.guard();
    }
  };
  for await (const line of createInterface({ input: process.stdin })) {
    order = orderSchema.parse(JSON.parse(line));
    await work().then(
      () => console.log(JSON.stringify({ ok: true })),
      (error: unknown) => console.log(JSON.stringify({ error: formatError(error) })),
    );
  }
  process.exit(0);
}
