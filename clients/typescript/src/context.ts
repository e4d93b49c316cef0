import type { Settings } from './options.js';
import type { Sender } from './sending.js';
import type { Telemetry } from './telemetry.js';

/** What all calls of one client share. */
export interface Context {
  readonly settings: Settings;
  readonly sender: Sender;
  readonly telemetry: Telemetry;
  /** Whether the client is closed: no call begins any more. */
  readonly isClosed: () => boolean;
  /** Has `close` wait for this, which rejects with nothing. */
  readonly inBackground: (work: Promise<void>) => void;
}
