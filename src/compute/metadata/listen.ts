/**
 * A short-lived process inside a VPC's namespace: binds the metadata service's port there and hands the listening socket to Compute,
 * which serves it. A socket stays in the namespace it was made in, whoever holds it.
 */
import { createServer } from "node:net";

const server = createServer();
server.on("error", (error) => {
  console.error(error.message);
  process.exit(1);
});
// The router's rules let only the service's own addresses through to it.
server.listen({ host: "0.0.0.0", port: 80, backlog: 128 }, () => {
  process.send?.("listening", server, {}, () => process.exit(0));
});
