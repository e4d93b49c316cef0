import { create } from '@bufbuild/protobuf';

import { refused } from './errors.js';
import { IdempotencyService, KeySchema, SaveCheckpointRequestSchema, type Key } from './gen/semel/v1/semel_pb.js';
import { Handoff, type HandoffParts } from './handoff.js';
import { derivedKey } from './keys.js';
import type { Sender, Sending } from './sending.js';

/** A recovery point: what an attempt saved for the next one. */
export interface Checkpoint {
  readonly name: string;
  readonly value: Uint8Array;
}

/** The attempt that owns a key while its work runs. */
export class Attempt {
  /** Fires when the caller cancels, or with a LeaseLostError when the key is not ours any more. Pass it on. */
  readonly signal: AbortSignal;
  readonly #parts: HandoffParts;
  readonly #checkpoints: Checkpoint[];
  readonly #sender: Sender;
  readonly #sending: Sending;
  #handedOff = false;

  /** @internal */
  constructor(parts: HandoffParts, checkpoints: readonly Checkpoint[], signal: AbortSignal, sender: Sender, sending: Sending) {
    this.#parts = parts;
    this.#checkpoints = [...checkpoints];
    this.signal = signal;
    this.#sender = sender;
    this.#sending = sending;
  }

  /** Rises with every attempt of the key: pass it to whatever can refuse a stale writer. 0 where unprotected. */
  get fence(): number {
    return this.#parts.fence;
  }

  /** Counts the attempts of the key, 1 for the first. 0 where unprotected. */
  get number(): number {
    return this.#parts.attempt;
  }

  /** False where the work runs only because of `fail_open`: others may run it, too. */
  get protected(): boolean {
    return this.#parts.fence > 0;
  }

  /** What earlier attempts and this one saved, oldest first. */
  get checkpoints(): readonly Checkpoint[] {
    return [...this.#checkpoints];
  }

  /**
   * Saves a recovery point, which the next attempt gets. Where unprotected, nothing is saved.
   * @param name 1 to 64 bytes
   * @param value bytes, or text, which is saved in UTF-8
   * @throws CheckpointRefusedError the name has another value, or there are too many
   * @throws LeaseLostError the key is not ours any more
   */
  async checkpoint(name: string, value: Uint8Array | string): Promise<void> {
    const bytes = typeof value === 'string' ? Buffer.from(value) : value.slice();
    if (this.protected) {
      const request = create(SaveCheckpointRequestSchema, { ...this.owner(), name, value: bytes });
      await this.#sender.send(IdempotencyService.method.saveCheckpoint, request, { ...this.#sending, signal: this.signal });
    }
    if (!this.#checkpoints.some((each) => each.name === name)) {
      this.#checkpoints.push({ name, value: bytes });
    }
  }

  /** The idempotency key for a call further down: a UUID, the same in every attempt of this key and in every language. */
  derivedKey(step: string): string {
    return derivedKey(this.#parts.tenant, this.#parts.endpoint, this.#parts.key, step);
  }

  /**
   * Gives the attempt to another process, which says `resume` or `completeHandoff`. `once` then reports nothing; it renews until its
   * work ends.
   */
  handoff(): Handoff {
    if (!this.protected) {
      throw refused('UNPROTECTED', 'the attempt owns nothing that could be handed off');
    }
    this.#handedOff = true;
    return new Handoff(this.#parts);
  }

  /** @internal */
  get handedOff(): boolean {
    return this.#handedOff;
  }

  /** @internal What every call of the owner carries. */
  owner(): { key: Key; fence: bigint; attemptId: string } {
    return owner(this.#parts);
  }
}

/** What every call of the owner carries. */
export function owner(parts: HandoffParts): { key: Key; fence: bigint; attemptId: string } {
  return {
    key: create(KeySchema, { tenant: parts.tenant, endpoint: parts.endpoint, idempotencyKey: parts.key }),
    fence: BigInt(parts.fence),
    attemptId: parts.attemptId,
  };
}
