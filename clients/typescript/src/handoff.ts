import { inspect } from 'node:util';

import { canonicalText } from './canonical.js';
import { refused } from './errors.js';

const VERSION = 1;
const MOST_ATTEMPT = 2 ** 32 - 1;

/** The parts of a handoff. */
export interface HandoffParts {
  readonly tenant: string;
  readonly endpoint: string;
  readonly key: string;
  readonly fence: number;
  readonly attempt: number;
  readonly attemptId: string;
  readonly leaseMs: number;
}

/** An attempt on its way to another process. It holds the idempotency key: keep it where keys are kept. */
export class Handoff {
  readonly #parts: HandoffParts;

  constructor(parts: HandoffParts) {
    this.#parts = { ...parts };
  }

  get parts(): HandoffParts {
    return this.#parts;
  }

  /** The form that every language reads. */
  serialize(): string {
    const { attempt, attemptId, endpoint, fence, key, leaseMs, tenant } = this.#parts;
    return canonicalText({ attempt, attempt_id: attemptId, endpoint, fence, key, lease_ms: leaseMs, tenant, v: VERSION });
  }

  /**
   * Reads what any language wrote.
   * @throws InvalidError `bad_handoff`
   */
  static parse(text: string): Handoff {
    const read = members(text);
    const names = ['attempt', 'attempt_id', 'endpoint', 'fence', 'key', 'lease_ms', 'tenant', 'v'];
    const { attempt, attempt_id: attemptId, endpoint, fence, key, lease_ms: leaseMs, tenant, v } = read;
    const known = Object.keys(read).sort().join() === names.join() && v === VERSION;
    if (
      !known ||
      !isText(tenant) ||
      !isText(endpoint) ||
      !isText(key) ||
      !isText(attemptId) ||
      !isCount(fence, Number.MAX_SAFE_INTEGER, 1) ||
      !isCount(attempt, MOST_ATTEMPT, 1) ||
      !isCount(leaseMs, Number.MAX_SAFE_INTEGER, Number.MIN_SAFE_INTEGER)
    ) {
      throw refused('bad_handoff', 'this is no handed-off attempt of a version that this library reads');
    }
    return new Handoff({ tenant, endpoint, key, fence, attempt, attemptId, leaseMs });
  }

  /** As much as may be logged. */
  toString(): string {
    return `attempt ${String(this.#parts.attempt)} of ${this.#parts.endpoint}`;
  }

  [inspect.custom](): string {
    return this.toString();
  }
}

function members(text: string): Record<string, unknown> {
  try {
    const read: unknown = JSON.parse(text);
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function isText(value: unknown): value is string {
  return typeof value === 'string';
}

function isCount(value: unknown, most: number, least: number): value is number {
  return Number.isSafeInteger(value) && (value as number) >= least && (value as number) <= most;
}
