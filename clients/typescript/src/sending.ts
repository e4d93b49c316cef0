import { fromBinary, toBinary, type DescMethodUnary, type DescMessage, type MessageShape } from '@bufbuild/protobuf';

import type { Access } from './access.js';
import { refused } from './errors.js';
import { ANSWERED, mapped, readStatus, type Answer } from './status.js';
import type { Telemetry } from './telemetry.js';
import type { Transport } from './transport.js';

const FIRST_PAUSE_MS = 50;
const LONGEST_PAUSE_MS = 1_000;

/**
 * What a call is for: `report` is the word of an attempt that ran, which waits for a credential that is being replaced, too;
 * `renewal` keeps the lease while the work runs, and waits for whatever may pass while it lasts.
 */
export type Purpose = 'plain' | 'report' | 'renewal';

/** How one call is sent, and sent again. Times are milliseconds. */
export interface Sending {
  /** Bounds all sends together. */
  readonly withinMs: number;
  /** Bounds one send. */
  readonly tryMs: number;
  /** What a held Begin may take more, in all and for each send. */
  readonly waitMs?: number;
  /** A plain call where nothing is said. */
  readonly purpose?: Purpose;
  readonly signal?: AbortSignal | undefined;
}

/** What became of a call so far. */
export interface Sent {
  /** When that was sent which was answered, on the monotonic clock. */
  at: number;
  sends: number;
  last: Answer;
}

/** Whether a call that came to this is sent again. */
export function goesOn(purpose: Purpose, answer: Answer): boolean {
  switch (answer.code) {
    case 'UNAVAILABLE':
    case 'DEADLINE_EXCEEDED':
    case 'CANCELLED':
    case 'UNKNOWN':
    case 'INTERNAL':
      return true;
    case 'RESOURCE_EXHAUSTED':
      return answer.pauseMs !== undefined || purpose === 'renewal';
    case 'UNAUTHENTICATED':
      return purpose !== 'plain';
    case 'PERMISSION_DENIED':
    case 'UNIMPLEMENTED':
      return purpose === 'renewal';
    default:
      return false;
  }
}

/** The bounds between which the pause before the next send is drawn. */
export function pauses(answer: Answer, sends: number): readonly [shortest: number, longest: number] {
  const step = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** (sends - 1));
  return answer.pauseMs === undefined ? [step / 2, step] : [answer.pauseMs, answer.pauseMs + step];
}

/** The longest that a timer of Node.js takes. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

/** Calls a function later; Node.js would call it at once where the time is too long for it. */
export function later(ms: number, then: () => void): NodeJS.Timeout {
  return setTimeout(then, Math.min(Math.max(ms, 0), LONGEST_TIMER_MS));
}

/** Pauses, or rejects with the signal's reason. */
export function rest(ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const cancel = () => {
      clearTimeout(timer);
      // eslint-disable-next-line @typescript-eslint/prefer-promise-reject-errors -- the caller's own cancellation
      reject(signal?.reason);
    };
    const timer = later(ms, () => {
      signal?.removeEventListener('abort', cancel);
      resolve();
    });
    if (signal?.aborted === true) {
      cancel();
    }
    signal?.addEventListener('abort', cancel, { once: true });
  });
}

/** Sends calls until they are answered. Only what may be is sent again, and always unchanged. */
export class Sender {
  /** Nothing is sent any more. */
  gone = false;

  constructor(
    private readonly transport: Transport,
    private readonly access: Access,
    private readonly telemetry: Telemetry,
  ) {}

  /** Rejects with the signal's reason, or with a typed error. `sent` tells what became of it either way. */
  send<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    how: Sending,
    sent: Sent = { at: 0, sends: 0, last: ANSWERED },
  ): Promise<MessageShape<O>> {
    return this.telemetry.call(method, sent, (headers) => this.#resend(method, request, how, sent, headers));
  }

  async #resend<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    how: Sending,
    sent: Sent,
    headers: readonly (readonly [string, string])[],
  ): Promise<MessageShape<O>> {
    const body = toBinary(method.input, request);
    const waitMs = how.waitMs ?? 0;
    sent.at = performance.now();
    const deadline = sent.at + how.withinMs + waitMs;
    let nothingWritten = true;
    for (;;) {
      if (this.gone) {
        throw refused('CLIENT_CLOSED', 'the client was closed meanwhile');
      }
      how.signal?.throwIfAborted();
      sent.sends += 1;
      const token = this.access.bearer();
      try {
        const answer = await this.transport.unary({
          path: `/${method.parent.typeName}/${method.name}`,
          body,
          headers: token === undefined ? headers : [...headers, ['authorization', `Bearer ${token}`]],
          timeoutMs: Math.min(how.tryMs + waitMs, deadline - sent.at),
          signal: how.signal,
        });
        sent.last = ANSWERED;
        return fromBinary(method.output, answer);
      } catch (error) {
        how.signal?.throwIfAborted();
        sent.last = readStatus(error);
        nothingWritten &&= sent.last.reason === 'STORE_UNAVAILABLE';
        const next = await this.#pause(how, sent, deadline);
        if (next === undefined) {
          throw mapped(method.name, sent.last, !nothingWritten, error);
        }
        sent.at = next;
      }
    }
  }

  /** Pauses before a call that came to this is sent again, and says when that is; undefined where it is not. */
  async #pause(how: Sending, sent: Sent, deadline: number): Promise<number | undefined> {
    const [shortest, longest] = pauses(sent.last, sent.sends);
    const pause = shortest + Math.random() * (longest - shortest);
    if (!goesOn(how.purpose ?? 'plain', sent.last) || performance.now() + pause >= deadline) {
      return undefined;
    }
    if (sent.last.code === 'UNAUTHENTICATED') {
      this.access.forget();
    }
    await rest(pause, how.signal);
    // It may have lasted longer than asked, and what has no time left for its answer is not sent.
    const now = performance.now();
    return now < deadline ? now : undefined;
  }
}
