import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';

import { clone, create } from '@bufbuild/protobuf';
import { durationFromMs, durationMs, timestampDate, timestampFromDate } from '@bufbuild/protobuf/wkt';

import { Attempt, type Checkpoint } from './attempt.js';
import { completedAt, decoded, encoded } from './codec.js';
import type { Context } from './context.js';
import { InProgressError, LeaseLostError, ServerError, StoreUnavailableError, UnresolvedError, refused, type Carried } from './errors.js';
import { reportOf } from './failure.js';
import {
  AbortRequest_Disposition as Disposition,
  BeginRequestSchema,
  IdempotencyService,
  Unresolved_Reason as UnresolvedReason,
  type BeginRequest,
  type BeginResponse,
  type InProgress,
  type Started,
  type Unresolved,
} from './gen/semel/v1/semel_pb.js';
import type { Handoff, HandoffParts } from './handoff.js';
import { checkKey, keyWarnings } from './keys.js';
import { Lease, lossOf, type Loss } from './lease.js';
import type { OnceSettings } from './once_options.js';
import { Reporter } from './report.js';
import { requestOf } from './request.js';
import { rest, type Sent } from './sending.js';
import { ANSWERED } from './status.js';
import { withdraw } from './withdraw.js';

/** What `once` came to. */
export interface Outcome<T> {
  /** What the work returned, now or when it ran. */
  readonly value: T;
  /** It ran before, and nothing ran now. */
  readonly replayed: boolean;
  /** Another process is to report. */
  readonly handedOff: boolean;
  /** False where the work ran only because of `fail_open`. */
  readonly protected: boolean;
  readonly fence: number;
  readonly attempt: number;
  /** When what is replayed was stored. */
  readonly completedAt?: Date | undefined;
}

/** What runs once. */
export type Work<T> = (attempt: Attempt) => Promise<T> | T;

interface Within {
  readonly tenant: string;
  readonly endpoint: string;
  readonly key: string;
  readonly outer: Within | undefined;
}

/** The works that the flow of execution is in, by which a nested run of the same key is found. */
const nesting = new AsyncLocalStorage<Within>();

/** One `once` or `resume` on its way. */
export class Run<T> {
  readonly #told;
  readonly #tenant: string;

  constructor(
    private readonly context: Context,
    private readonly settings: OnceSettings<T>,
    private readonly endpoint: string,
    private readonly key: string,
  ) {
    this.#tenant = context.settings.tenant;
    this.#told = { tenant: this.#tenant, endpoint, decision: '', outcome: '', attempt: 0, fence: 0, earlier: '' };
  }

  once(request: unknown, work: Work<T>): Promise<Outcome<T>> {
    return this.context.telemetry.once(this.#told, () => this.#once(request, work));
  }

  resume(handoff: Handoff, work: Work<T>): Promise<Outcome<T>> {
    return this.context.telemetry.once(this.#told, async () => {
      this.#check();
      this.#told.decision = 'started';
      const { parts } = handoff;
      const lease = new Lease(this.context.sender, parts, this.context.settings.tryTimeoutMs, performance.now(), parts.leaseMs);
      try {
        await lease.renew(this.settings.signal);
      } catch (error) {
        this.settings.signal?.throwIfAborted();
        this.#told.outcome = 'lost';
        throw lossOf(error).error;
      }
      return this.#own(parts, [], lease, work);
    });
  }

  #check(): void {
    if (this.context.isClosed()) {
      throw refused('CLIENT_CLOSED', 'the client is closed');
    }
    this.settings.signal?.throwIfAborted();
    checkKey(this.key);
    for (let within = nesting.getStore(); within !== undefined; within = within.outer) {
      if (within.tenant === this.#tenant && within.endpoint === this.endpoint && within.key === this.key) {
        throw refused('NESTED', 'this runs within the work of the same key, which would wait for itself');
      }
    }
    for (const warning of keyWarnings(this.key)) {
      this.context.telemetry.keyWarning(this.endpoint, warning);
      this.context.settings.logger.warn('an idempotency key looks like personal data', { endpoint: this.endpoint, warning });
    }
  }

  async #once(request: unknown, work: Work<T>): Promise<Outcome<T>> {
    this.#check();
    const begin = this.#beginRequest(request);
    const sent: Sent = { at: 0, sends: 0, last: ANSWERED };
    let answer: BeginResponse;
    try {
      answer = await this.#begin(begin, sent);
    } catch (error) {
      return await this.#notBegun(begin, sent, error, work);
    }
    const { decision } = answer;
    switch (decision.case) {
      case 'started':
        this.#told.decision = 'started';
        return await this.#started(begin, decision.value, sent.at, work);
      case 'replayed': {
        const { result, fence, attempt, originalTraceparent } = decision.value;
        Object.assign(this.#told, { decision: 'replayed', attempt, fence: Number(fence), earlier: originalTraceparent });
        if (result === undefined) {
          break;
        }
        const value = decoded(this.settings.codec, result);
        return this.#outcome({ value, replayed: true, completedAt: completedAt(decision.value) });
      }
      case 'inProgress':
        this.#told.decision = 'in_progress';
        throw inProgress(decision.value);
      case 'unresolved':
        this.#told.decision = 'unresolved';
        throw unresolved(decision.value);
    }
    throw new ServerError('the server decided what this library does not know; upgrade it', { reason: 'DECISION' });
  }

  #outcome(given: Partial<Outcome<T>> & { value: T }): Outcome<T> {
    const { fence, attempt } = this.#told;
    return { replayed: false, handedOff: false, protected: true, fence, attempt, ...given };
  }

  #beginRequest(request: unknown): BeginRequest {
    const { leaseMs, retentionMs, firstSent, retry = false, labels = {} } = this.settings;
    const begin = create(BeginRequestSchema, {
      key: { tenant: this.#tenant, endpoint: this.endpoint, idempotencyKey: this.key },
      attemptId: randomUUID(),
      retry,
      labels: { ...labels },
    });
    const fingerprint = requestOf(request)?.fingerprint();
    if (fingerprint !== undefined) {
      begin.fingerprint = fingerprint;
    }
    if (leaseMs !== undefined) {
      begin.lease = durationFromMs(leaseMs);
    }
    if (retentionMs !== undefined) {
      begin.retention = durationFromMs(retentionMs);
    }
    if (firstSent !== undefined) {
      begin.firstSent = timestampFromDate(firstSent);
    }
    return begin;
  }

  /**
   * Begins, again and again while another attempt runs and there is time left to wait. The attempt id stays the same: no attempt began,
   * and if an answer was lost, this finds the attempt that did.
   */
  async #begin(request: BeginRequest, sent: Sent): Promise<BeginResponse> {
    const { timeoutMs: withinMs, waitMs, signal } = this.settings;
    const until = performance.now() + waitMs;
    for (;;) {
      const left = Math.max(0, Math.floor(until - performance.now()));
      const waiting = clone(BeginRequestSchema, request);
      if (left > 0) {
        waiting.wait = durationFromMs(left);
      }
      sent.sends = 0;
      const how = { withinMs, tryMs: this.context.settings.tryTimeoutMs, waitMs: left, signal };
      const answer = await this.context.sender.send(IdempotencyService.method.begin, waiting, how, sent);
      if (answer.decision.case !== 'inProgress' || left === 0) {
        return answer;
      }
      sent.sends = 0; // in the pause no Begin is under way that could be granted
      const { retryAfter } = answer.decision.value;
      const pause = retryAfter === undefined ? 0 : durationMs(retryAfter);
      await rest(Math.max(0, Math.min(pause, until - performance.now())), signal);
    }
  }

  /** What follows a Begin without an answer, or with an error. */
  async #notBegun(request: BeginRequest, sent: Sent, error: unknown, work: Work<T>): Promise<Outcome<T>> {
    const unavailable = error instanceof StoreUnavailableError ? error : undefined;
    if (unavailable !== undefined && this.settings.whenUnavailable === 'fail_open') {
      return await this.#unprotected(unavailable, work);
    }
    const cancelled = this.settings.signal?.aborted ?? false;
    if (sent.sends > 0 && (cancelled || unavailable?.mayHaveTakenEffect === true)) {
      this.context.inBackground(withdraw(this.context, request));
    }
    throw error;
  }

  async #unprotected(why: StoreUnavailableError, work: Work<T>): Promise<Outcome<T>> {
    this.#told.decision = 'unprotected';
    const { endpoint, key } = this;
    this.context.telemetry.unprotected(endpoint);
    this.context.settings.logger.warn('semel cannot be reached, and the work runs unprotected', {
      endpoint,
      reason: `${why.code ?? ''} ${why.reason}`.trim(),
    });
    const parts: HandoffParts = { tenant: this.#tenant, endpoint, key, fence: 0, attempt: 0, attemptId: '', leaseMs: 0 };
    const signal = this.settings.signal ?? new AbortController().signal;
    const value = await this.#inside(() => work(this.#attempt(parts, [], signal)));
    return this.#outcome({ value, protected: false });
  }

  #attempt(parts: HandoffParts, checkpoints: readonly Checkpoint[], signal: AbortSignal): Attempt {
    const { timeoutMs, tryTimeoutMs } = this.context.settings;
    return new Attempt(parts, checkpoints, signal, this.context.sender, { withinMs: timeoutMs, tryMs: tryTimeoutMs });
  }

  /** Runs a work where nested runs of the same key are found. */
  #inside(work: () => Promise<T> | T): Promise<T> {
    const { endpoint, key } = this;
    // The function is async: what a work throws before its first await becomes a rejection, too.
    return nesting.run({ tenant: this.#tenant, endpoint, key, outer: nesting.getStore() }, async () => await work());
  }

  #started(begin: BeginRequest, started: Started, sentAt: number, work: Work<T>): Promise<Outcome<T>> {
    const parts: HandoffParts = {
      tenant: this.#tenant,
      endpoint: this.endpoint,
      key: this.key,
      fence: Number(started.fence),
      attempt: started.attempt,
      attemptId: begin.attemptId,
      leaseMs: started.lease === undefined ? 0 : durationMs(started.lease),
    };
    const waited = started.waited === undefined ? 0 : durationMs(started.waited);
    const lease = new Lease(this.context.sender, parts, this.context.settings.tryTimeoutMs, sentAt + waited, parts.leaseMs);
    const checkpoints = started.checkpoints.map(({ name, value }) => ({ name, value }));
    return this.#own(parts, checkpoints, lease, work);
  }

  /** Runs the work of an attempt that was granted, and reports what became of it. */
  async #own(parts: HandoffParts, checkpoints: readonly Checkpoint[], lease: Lease, work: Work<T>): Promise<Outcome<T>> {
    const { signal: callers } = this.settings;
    Object.assign(this.#told, { attempt: parts.attempt, fence: parts.fence });
    const reporter = new Reporter(this.context, parts, this.settings.retentionMs);
    const working = new AbortController();
    const cancel = () => {
      working.abort(callers?.reason);
    };
    try {
      if (lease.late) {
        await this.#renewFirst(lease, reporter);
      }
      callers?.addEventListener('abort', cancel);
      if (callers?.aborted === true) {
        cancel();
      }
      lease.keep((loss) => {
        this.#lost(loss, working);
      });
      const attempt = this.#attempt(parts, checkpoints, working.signal);
      const ended = await this.#inside(() => work(attempt)).then(
        (value): Ended<T> => ({ value }),
        (error: unknown): Ended<T> => ({ error }),
      );
      await this.#settle(attempt, lease, reporter, ended, working.signal);
      if ('error' in ended) {
        throw ended.error;
      }
      return this.#outcome({ value: ended.value, handedOff: attempt.handedOff });
    } finally {
      this.#told.outcome = reporter.outcome;
      callers?.removeEventListener('abort', cancel);
      lease.stop();
    }
  }

  /** A lease that is half over is renewed before anything runs; where that fails, what was granted is given back. */
  async #renewFirst(lease: Lease, reporter: Reporter): Promise<void> {
    const { signal } = this.settings;
    try {
      await lease.renew(signal);
    } catch (error) {
      const loss = lossOf(error);
      if (!loss.refused) {
        await reporter.abort({ disposition: Disposition.RELEASE, detail: 'nothing ran' });
      }
      reporter.outcome = 'lost';
      signal?.throwIfAborted();
      throw loss.error;
    }
  }

  #lost(loss: Loss, working: AbortController): void {
    const { endpoint } = this;
    this.context.telemetry.leaseLost(endpoint);
    const { reason } = loss.error;
    this.context.settings.logger.warn('ownership of a key is lost while its work runs', { endpoint, reason });
    working.abort(loss.error);
  }

  /** Reports how the work ended; rejects with what its caller gets, where that is not how it ended. */
  async #settle(attempt: Attempt, lease: Lease, reporter: Reporter, ended: Ended<T>, signal: AbortSignal): Promise<void> {
    if (attempt.handedOff) {
      reporter.outcome = 'handed_off';
      return;
    }
    const { loss } = lease;
    if (loss?.refused === true) {
      reporter.outcome = 'lost';
      throw lostWith(loss.error, ended);
    }
    const { codec, onUnexpected, classify } = this.settings;
    const cancelledWith: unknown = signal.aborted ? signal.reason : undefined;
    const report = 'error' in ended ? reportOf(ended.error, { onUnexpected, classify, cancelledWith }) : encoded(codec, ended.value);
    if ('result' in report) {
      await reporter.complete(report, carriedBy(ended));
      return;
    }
    await reporter.abort(report);
    if (loss !== undefined) {
      reporter.outcome = 'lost';
      throw lostWith(loss.error, ended);
    }
  }
}

/** How a work ended. */
type Ended<T> = { readonly value: T } | { readonly error: unknown };

function carriedBy<T>(ended: Ended<T>): Carried | undefined {
  return 'error' in ended ? undefined : { value: ended.value };
}

/** The error of a work whose key was lost. */
function lostWith<T>(lost: LeaseLostError, ended: Ended<T>): LeaseLostError {
  return new LeaseLostError('the key was lost while the work ran', {
    code: lost.code,
    reason: lost.reason,
    cause: 'error' in ended ? ended.error : lost,
    carried: carriedBy(ended),
  });
}

function inProgress(decision: InProgress): InProgressError {
  const { attempt, backingOff, retryAfter } = decision;
  const message = backingOff
    ? `attempt ${String(attempt)} gave the key up, and asked for a pause; ask again after it`
    : `attempt ${String(attempt)} is running; ask again, or wait for it with waitMs`;
  return new InProgressError(message, { attempt, backingOff, retryAfterMs: retryAfter === undefined ? undefined : durationMs(retryAfter) });
}

function unresolved(decision: Unresolved): UnresolvedError {
  const { reason, attempt, detail, since } = decision;
  const message =
    reason === UnresolvedReason.ATTEMPTS_EXHAUSTED
      ? 'the attempts are used up; an operator has to resolve it'
      : 'nobody knows whether an earlier attempt did it; an operator has to resolve it';
  return new UnresolvedError(message, {
    unresolvedReason: reason,
    detail,
    attempt,
    since: since === undefined ? undefined : timestampDate(since),
  });
}
