import { create } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';

import { owner } from './attempt.js';
import { LeaseLostError } from './errors.js';
import { IdempotencyService, RenewRequestSchema } from './gen/semel/v1/semel_pb.js';
import type { HandoffParts } from './handoff.js';
import { later, type Sender, type Sending, type Sent } from './sending.js';
import { ANSWERED } from './status.js';

/** The shortest time that one Renew is given, in milliseconds. */
const SHORTEST_RENEWAL_MS = 50;

/** That a lease is lost, and whether the server said so. */
export interface Loss {
  readonly error: LeaseLostError;
  readonly refused: boolean;
}

/** A lease is kept by one timer, from the time its work begins until it is reported. */
export class Lease {
  readonly #renewals = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #ended = false;
  #loss: Loss | undefined;

  /**
   * @param sinceMs when that was sent by which it was granted, on the monotonic clock
   * @param lengthMs for how long it was granted
   */
  constructor(
    private readonly sender: Sender,
    private readonly parts: HandoffParts,
    private readonly tryTimeoutMs: number,
    private sinceMs: number,
    private lengthMs: number,
  ) {}

  /** Whether half of the lease was gone before its work could begin. */
  get late(): boolean {
    return performance.now() - this.sinceMs >= this.lengthMs / 2;
  }

  /** Whether ownership is lost so far. */
  get loss(): Loss | undefined {
    return this.#loss;
  }

  /** Sends a Renew until it is answered, or the lease counts as lost: a tenth before its end, for the work to stop by then. */
  async renew(signal: AbortSignal | undefined): Promise<void> {
    const lostAt = this.sinceMs + 0.9 * this.lengthMs;
    const sent: Sent = { at: 0, sends: 0, last: ANSWERED };
    const tryMs = Math.min(Math.max(this.lengthMs / 6, SHORTEST_RENEWAL_MS), this.tryTimeoutMs);
    const request = create(RenewRequestSchema, owner(this.parts));
    const how: Sending = { withinMs: lostAt - performance.now(), tryMs, purpose: 'renewal', signal };
    const answer = await this.sender.send(IdempotencyService.method.renew, request, how, sent);
    const granted = answer.lease === undefined ? 0 : durationMs(answer.lease);
    this.sinceMs = sent.at;
    this.lengthMs = granted > 0 ? granted : this.lengthMs;
  }

  /** Renews a third into each lease from now on, and says once when ownership is lost. */
  keep(lose: (loss: Loss) => void): void {
    if (this.#ended) {
      return;
    }
    this.#timer = later(this.sinceMs + this.lengthMs / 3 - performance.now(), () => {
      this.renew(this.#renewals.signal).then(
        () => {
          this.keep(lose);
        },
        (error: unknown) => {
          if (!this.#ended) {
            this.#ended = true;
            this.#loss = lossOf(error);
            lose(this.#loss);
          }
        },
      );
    });
  }

  /** Ends renewals; no timer is left behind. */
  stop(): void {
    this.#ended = true;
    clearTimeout(this.#timer);
    this.#renewals.abort();
  }
}

/** Why a lease is lost that could not be renewed. */
export function lossOf(error: unknown): Loss {
  if (error instanceof LeaseLostError) {
    return { error, refused: true };
  }
  return { error: new LeaseLostError('the lease could not be renewed', { reason: 'LEASE_OVER', cause: error }), refused: false };
}
