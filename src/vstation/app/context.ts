/** What every use case needs; built once in main.ts. */
import type { AgentListener } from "../agents/listener.ts";
import type { Keyring } from "../keyring.ts";
import type { VStationConfig } from "../config.ts";
import type { Placer } from "../placement/placer.ts";
import type { Store } from "../store/database.ts";
import type { EventTail } from "./event-tail.ts";
import type { ImageFolder } from "./image-folder.ts";
import type { Log } from "../../lib/log.ts";

export interface AppContext {
  store: Store;
  config: VStationConfig;
  placer: Placer;
  agents: AgentListener;
  folder: ImageFolder;
  /** Is told that an import has something to do. */
  imports: { nudge(): void };
  events: EventTail;
  keyring: Keyring;
  operatorToken: string;
  /** VStation's CA certificate. */
  caPem: string;
  log: Log;
}
