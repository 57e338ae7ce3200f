/**
 * The advisory lock behind a zone's lease, on a connection of its own: PostgreSQL hands it over in the moment in which its
 * holder's connection ends, so a follower learns of the holder's death by an event and not by a timer.
 */
import pg from "pg";
import { connectionOptions } from "./database.ts";

/**
 * Waits for the lock of this zone and calls `taken` when it is ours. Resolves when the connection (and with it the lock, or the
 * place in the queue for it) is lost, or when the signal aborts; rejects when PostgreSQL is out of reach.
 */
export async function leaseLock(
  database: string,
  zone: string,
  signal: AbortSignal,
  taken: () => Promise<void>,
): Promise<void> {
  const client = new pg.Client(connectionOptions(database));
  const over = Promise.withResolvers<void>();
  over.promise.catch(() => undefined);
  client.on("error", () => over.resolve());
  client.on("end", () => over.resolve());
  const stop = (): void => over.resolve();
  signal.addEventListener("abort", stop);
  try {
    await client.connect();
    const locking = client
      .query("select pg_advisory_lock(hashtextextended('vstation placement ' || $1, 0))", [zone])
      .then(taken);
    locking.catch((error: unknown) => over.reject(error as Error));
    await over.promise;
  } finally {
    signal.removeEventListener("abort", stop);
    // While a query waits, end() would wait with it; the socket is ours to close.
    client.connection.stream.destroy();
  }
}
