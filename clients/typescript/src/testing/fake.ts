import { Client } from '../client.js';
import type { ClientOptions } from '../options.js';
import { FakeServer, type FakeDecision, type RecordedCall } from './fake_server.js';

export type { FakeDecision, RecordedCall } from './fake_server.js';

/**
 * A client without a server, for tests. What a key comes to is scripted; a key without a script is kept in memory as a server would:
 * Started, InProgress while it runs, then Replayed, or Started again after an Abort. The operators' methods are UNIMPLEMENTED.
 */
export class FakeClient extends Client {
  readonly #server: FakeServer;

  constructor(options: Omit<ClientOptions, 'transport' | 'address' | 'connections'> = {}) {
    const server = new FakeServer();
    super({ ...options, address: 'http://127.0.0.1:7400', transport: server });
    this.#server = server;
  }

  /** Says what the next Begins of a key come to, one after the other; the last one stays. */
  script(endpoint: string, key: string, ...decisions: FakeDecision[]): this {
    this.#server.script(endpoint, key, decisions);
    return this;
  }

  /** What was called so far, in order. */
  calls(): readonly RecordedCall[] {
    return this.#server.calls();
  }
}
