/** The VStation of a file of tests: one for each test or one for all of them, with a PostgreSQL that lasts as long as the file. */
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest";
import { TestPostgres } from "./postgres.ts";
import { TestVstation } from "./vstation.ts";

type Ready = (vstation: TestVstation) => Promise<void> | void;

/** Made before each test, with a database of its own, and not started but by `ready`; gone after the test. */
export function vstationForEach(ready: Ready): TestPostgres {
  const postgres = new TestPostgres();
  let vstation: TestVstation;
  beforeAll(() => postgres.start());
  afterAll(() => postgres.close());
  beforeEach(async () => {
    vstation = await TestVstation.create(postgres);
    await ready(vstation);
  });
  afterEach(() => vstation.close());
  return postgres;
}

/** Made before the first test, and not started but by `ready`; gone after the last. */
export function vstationForAll(ready: Ready): TestPostgres {
  const postgres = new TestPostgres();
  let vstation: TestVstation | undefined;
  beforeAll(async () => {
    await postgres.start();
    vstation = await TestVstation.create(postgres);
    await ready(vstation);
  });
  afterAll(async () => {
    await vstation?.close();
    await postgres.close();
  });
  return postgres;
}
