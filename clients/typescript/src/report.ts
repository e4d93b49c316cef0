import { clone, create } from '@bufbuild/protobuf';
import { durationFromMs } from '@bufbuild/protobuf/wkt';

import { owner } from './attempt.js';
import {
  CompletionUnknownError,
  LeaseLostError,
  OperationFailedError,
  ResultConflictError,
  ResultNotStoredError,
  SemelError,
  type Carried,
} from './errors.js';
import type { AbortReport, ResultReport } from './failure.js';
import {
  AbortRequest_Disposition as Disposition,
  AbortRequestSchema,
  CompleteRequestSchema,
  IdempotencyService,
  ResultSchema,
  type Result,
} from './gen/semel/v1/semel_pb.js';
import { Handoff, type HandoffParts } from './handoff.js';
import type { Context } from './context.js';
import type { Sending } from './sending.js';

/** No policy allows a larger result, so that it is not sent. */
const MOST_RESULT_BYTES = 3 * 1024 * 1024;

/** The word of an attempt: how it is sent, and what its caller gets of it. It is not touched by the caller's cancellation. */
export class Reporter {
  /** What it came to, for telemetry. */
  outcome = '';

  constructor(
    private readonly context: Context,
    private readonly parts: HandoffParts,
    private readonly retentionMs: number | undefined,
  ) {}

  #sending(withinMs: number): Sending {
    return { withinMs, tryMs: this.context.settings.tryTimeoutMs, purpose: 'report' };
  }

  /** Reports a result, and as much of it as is taken. Rejects with what the caller gets instead of the value. */
  async complete(report: ResultReport, carried: Carried | undefined): Promise<void> {
    let { result, omitted } = report;
    if (result.payload.length + Buffer.byteLength(result.contentType) > MOST_RESULT_BYTES) {
      result = smaller(result) ?? result;
      omitted = new RangeError('the result is larger than any policy allows');
    }
    const deadline = performance.now() + this.context.settings.reportTimeoutMs;
    for (;;) {
      const request = create(CompleteRequestSchema, { ...owner(this.parts), result });
      if (this.retentionMs !== undefined) {
        request.retention = durationFromMs(this.retentionMs);
      }
      try {
        await this.context.sender.send(IdempotencyService.method.complete, request, this.#sending(deadline - performance.now()));
        this.#completed({ ...report, omitted }, carried);
        return;
      } catch (error) {
        const less = isTooLarge(error) ? smaller(result) : undefined;
        if (less === undefined) {
          throw this.#notCompleted(report, carried, error);
        }
        result = less;
        omitted = error;
      }
    }
  }

  /** What the caller gets of a report that was taken. */
  #completed(report: ResultReport, carried: Carried | undefined): void {
    this.outcome = report.failure === undefined ? 'completed' : 'failed';
    if (report.omitted !== undefined) {
      throw new ResultNotStoredError('the work is done, and its result is not kept: too large, or not to be encoded', {
        reason: 'PAYLOAD_OMITTED',
        cause: report.omitted,
        carried,
        replayed: false,
        failed: report.failure !== undefined,
      });
    }
    if (report.failure !== undefined) {
      throw new OperationFailedError(report.failure, { replayed: false });
    }
  }

  /** What the caller gets of a report that was not. */
  #notCompleted(report: ResultReport, carried: Carried | undefined, error: unknown): unknown {
    if (error instanceof ResultNotStoredError || error instanceof OperationFailedError) {
      return error; // it was taken: see #completed
    }
    const facts = error instanceof SemelError ? { code: error.code, reason: error.reason, cause: error } : { cause: error };
    if (error instanceof LeaseLostError) {
      this.outcome = 'lost';
      return new LeaseLostError(plain(error), { ...facts, carried });
    }
    if (error instanceof ResultConflictError) {
      this.outcome = 'lost';
      return new ResultConflictError(plain(error), { ...facts, carried });
    }
    this.#undelivered('complete', error);
    return new CompletionUnknownError(
      'the work ran, and it is not known whether its result is stored; deliver it later with completeHandoff',
      {
        ...facts,
        reason: 'UNDELIVERED',
        carried,
        failure: report.failure,
        handoff: new Handoff(this.parts),
      },
    );
  }

  /** Reports that there is no result. What comes of it changes nothing for the caller. */
  async abort(report: AbortReport): Promise<void> {
    const { disposition, detail, retryAfterMs = 0 } = report;
    this.outcome = disposition === Disposition.RELEASE ? 'released' : 'given_up';
    const request = create(AbortRequestSchema, { ...owner(this.parts), disposition, detail });
    if (retryAfterMs > 0) {
      request.retryAfter = durationFromMs(retryAfterMs);
    }
    try {
      await this.context.sender.send(IdempotencyService.method.abort, request, this.#sending(this.context.settings.reportTimeoutMs));
    } catch (error) {
      if (!(error instanceof LeaseLostError)) {
        this.#undelivered('abort', error);
      }
    }
  }

  #undelivered(method: 'complete' | 'abort', error: unknown): void {
    this.outcome = 'undelivered';
    const { endpoint } = this.parts;
    this.context.telemetry.undelivered(endpoint, IdempotencyService.method[method]);
    const why = error instanceof SemelError ? `${error.code ?? ''} ${error.reason}`.trim() : '';
    this.context.settings.logger.warn('the word of an attempt could not be delivered', { endpoint, call: method, why });
  }
}

/** The text of an error without the reason in front of it. */
function plain(error: SemelError): string {
  return error.reason === '' ? error.message : error.message.slice(error.reason.length + 2);
}

/** The same result with less in it; undefined where there is nothing left to leave out. */
function smaller(result: Result): Result | undefined {
  if (result.payloadOmitted && result.contentType === '') {
    return undefined;
  }
  const less = clone(ResultSchema, result);
  less.contentType = result.payloadOmitted ? '' : result.contentType;
  less.payloadOmitted = true;
  less.payload = new Uint8Array();
  return less;
}

function isTooLarge(error: unknown): boolean {
  if (!(error instanceof SemelError)) {
    return false;
  }
  const byTransport = error.reason === '' && (error.code === 'OUT_OF_RANGE' || error.code === 'RESOURCE_EXHAUSTED');
  return error.reason === 'RESULT_TOO_LARGE' || byTransport;
}
