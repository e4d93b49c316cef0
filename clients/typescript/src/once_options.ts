import { jsonCodec, type Codec } from './codec.js';
import { refused } from './errors.js';
import type { Meaning, OnUnexpected } from './failure.js';
import type { Settings } from './options.js';

/** How one `once` or `resume` behaves. Times are milliseconds. */
export interface OnceOptions<T> {
  /** How long to wait while another attempt runs, instead of InProgressError at once. Default: 0. */
  readonly waitMs?: number | undefined;
  /** Another lease than the policy's. */
  readonly leaseMs?: number | undefined;
  /** Another retention than the policy's. */
  readonly retentionMs?: number | undefined;
  /** When the caller first sent this operation: past the window in which its outcome is known it is KeyExpiredError instead of run again. */
  readonly firstSent?: Date | undefined;
  /** The caller knows this to be a retry. */
  readonly retry?: boolean | undefined;
  /** What people find the attempt by: at most 16, 1 KiB in all. Never the key. */
  readonly labels?: Readonly<Record<string, string>> | undefined;
  /** `fail_open` runs the work unprotected where semel cannot be reached: nobody may then rely on a unique run. Default: `fail_closed`. */
  readonly whenUnavailable?: 'fail_closed' | 'fail_open' | undefined;
  /** How the value becomes a result, and is read again. Default: JSON. */
  readonly codec?: Codec<T> | undefined;
  /** What an error of the work means that says nothing of itself. Default: the client's. */
  readonly onUnexpected?: OnUnexpected | undefined;
  /** Asked before the table of failures; undefined is no opinion. */
  readonly classify?: ((error: unknown) => Meaning | undefined) | undefined;
  /** For all sends of the Begin together; a wait is on top. Default: the client's. */
  readonly timeoutMs?: number | undefined;
  /** Cancels: the call rejects with its reason; a work that runs is told by `attempt.signal`, and what it comes to is reported all the same. */
  readonly signal?: AbortSignal | undefined;
}

/** Options with the defaults filled in. */
export interface OnceSettings<T> extends OnceOptions<T> {
  readonly waitMs: number;
  readonly timeoutMs: number;
  readonly codec: Codec<T>;
  readonly onUnexpected: OnUnexpected;
}

export function onceSettings<T>(client: Settings, options: OnceOptions<T>): OnceSettings<T> {
  for (const name of ['waitMs', 'leaseMs', 'retentionMs', 'timeoutMs'] as const) {
    const length = options[name];
    if (length !== undefined && !Number.isFinite(length)) {
      throw refused('OPTIONS', `${name} is no number of milliseconds`);
    }
  }
  return {
    ...options,
    waitMs: Math.max(0, options.waitMs ?? 0),
    timeoutMs: options.timeoutMs ?? client.timeoutMs,
    codec: options.codec ?? jsonCodec<T>(),
    onUnexpected: options.onUnexpected ?? client.onUnexpected,
  };
}
