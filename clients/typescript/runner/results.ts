// What came of a call, as the driver reads it.
import { Unresolved_Reason as UnresolvedReason } from '../src/gen/semel/v1/semel_pb.js';
import {
  CompletionUnknownError,
  InProgressError,
  LeaseLostError,
  OperationFailedError,
  ResultConflictError,
  ResultNotStoredError,
  SemelError,
  StoreUnavailableError,
  UndecodableResultError,
  UnresolvedError,
  type Carried,
  type Outcome,
} from '../src/index.js';

export async function resultEvent(calling: () => Promise<unknown>): Promise<Record<string, unknown>> {
  try {
    return { ok: okOf(await calling()) };
  } catch (error) {
    return { error: errorOf(error) };
  }
}

function isOutcome(value: unknown): value is Outcome<unknown> {
  return typeof value === 'object' && value !== null && 'replayed' in value;
}

function okOf(value: unknown): unknown {
  if (!isOutcome(value)) {
    return value ?? {};
  }
  const { replayed, handedOff, protected: isProtected, attempt, fence } = value;
  return { value: plain(value.value), replayed, handed_off: handedOff, protected: isProtected, attempt, fence };
}

/** Bytes as hexadecimal text, all else as it is. */
function plain(value: unknown): unknown {
  return value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value;
}

/** What an event can hold of a value that cannot be JSON. */
function carries(carried: Carried | undefined): Record<string, unknown> {
  if (carried === undefined) {
    return { carries_value: false };
  }
  const value = plain(carried.value);
  return typeof value === 'bigint' ? { carries_value: true } : { carries_value: true, value };
}

function errorOf(error: unknown): Record<string, unknown> {
  const text = String(error);
  if (!(error instanceof SemelError)) {
    const { name, message } = error as Error;
    return { text, type: name === 'AbortError' ? 'Cancelled' : 'Own', message };
  }
  const { kind: type, code, reason, retryAfterMs, cause } = error;
  const facts: Record<string, unknown> = { text, type, code, reason, message: error.message, retry_after_ms: retryAfterMs };
  if (cause instanceof SemelError) {
    facts['cause'] = cause.kind;
  }
  return { ...facts, ...moreOf(error) };
}

function moreOf(error: SemelError): Record<string, unknown> {
  if (error instanceof InProgressError) {
    return { attempt: error.attempt, backing_off: error.backingOff };
  }
  if (error instanceof UnresolvedError) {
    const { unresolvedReason, detail, attempt } = error;
    return { unresolved_reason: `REASON_${UnresolvedReason[unresolvedReason]}`, detail, attempt };
  }
  if (error instanceof LeaseLostError || error instanceof ResultConflictError) {
    return carries(error.carried);
  }
  if (error instanceof StoreUnavailableError) {
    return { may_have_taken_effect: error.mayHaveTakenEffect };
  }
  if (error instanceof OperationFailedError) {
    return { message: error.failure.message, failure: error.failure, replayed: error.replayed };
  }
  if (error instanceof CompletionUnknownError) {
    return { ...carries(error.carried), failure: error.failure, handoff: error.handoff.serialize() };
  }
  if (error instanceof ResultNotStoredError) {
    return { ...carries(error.carried), replayed: error.replayed, failed: error.failed };
  }
  if (error instanceof UndecodableResultError) {
    return { content_type: error.result.contentType };
  }
  return {};
}
