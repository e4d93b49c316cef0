import type { Result, Unresolved_Reason } from './gen/semel/v1/semel_pb.js';
import type { Failure } from './failure.js';
import type { Handoff } from './handoff.js';

/** A gRPC code by its name. */
export type Code =
  | 'OK'
  | 'CANCELLED'
  | 'UNKNOWN'
  | 'INVALID_ARGUMENT'
  | 'DEADLINE_EXCEEDED'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'PERMISSION_DENIED'
  | 'RESOURCE_EXHAUSTED'
  | 'FAILED_PRECONDITION'
  | 'ABORTED'
  | 'OUT_OF_RANGE'
  | 'UNIMPLEMENTED'
  | 'INTERNAL'
  | 'UNAVAILABLE'
  | 'DATA_LOSS'
  | 'UNAUTHENTICATED';

/** The name of each error in the list that all languages share (clients/README.md, Errors). */
export type Kind =
  | 'KeyMismatch'
  | 'KeyExpired'
  | 'InProgress'
  | 'Unresolved'
  | 'LeaseLost'
  | 'StoreUnavailable'
  | 'Exhausted'
  | 'NotAllowed'
  | 'Invalid'
  | 'ServerError'
  | 'OperationFailed'
  | 'CompletionUnknown'
  | 'ResultNotStored'
  | 'ResultConflict'
  | 'UndecodableResult'
  | 'CheckpointRefused'
  | 'NotFound'
  | 'Refused';

/** What every error of this library says of itself. */
export interface ErrorFacts {
  /** gRPC's code; absent where the library itself refused. */
  code?: Code | undefined;
  /** ErrorInfo's reason, or the library's own. */
  reason?: string | undefined;
  /** When asking again is worth it, in milliseconds, where that is known. */
  retryAfterMs?: number | undefined;
  cause?: unknown;
}

/** Every error of this library. Its text contains no key and no payload. */
export abstract class SemelError extends Error {
  abstract readonly kind: Kind;
  /** gRPC's code; undefined where the library itself refused. */
  readonly code: Code | undefined;
  /** ErrorInfo's reason, or the library's own; `''` where there is none. */
  readonly reason: string;
  /** When asking again is worth it, in milliseconds, where that is known. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, facts: ErrorFacts = {}) {
    super(facts.reason ? `${facts.reason}: ${message}` : message, facts.cause === undefined ? {} : { cause: facts.cause });
    this.name = new.target.name;
    this.code = facts.code;
    this.reason = facts.reason ?? '';
    this.retryAfterMs = facts.retryAfterMs;
  }
}

/** The key stands for another request. Do nothing; find out why the caller reused the key. */
export class KeyMismatchError extends SemelError {
  readonly kind = 'KeyMismatch';
}

/** A late retry, of an operation that was first sent before its outcome is known. It may have run: do nothing. */
export class KeyExpiredError extends SemelError {
  readonly kind = 'KeyExpired';
}

/** Another attempt runs. Ask again after `retryAfterMs`. */
export class InProgressError extends SemelError {
  readonly kind = 'InProgress';
  readonly attempt: number;
  /** Nobody runs: the last attempt gave the key up, and asked for a pause. */
  readonly backingOff: boolean;

  constructor(message: string, facts: ErrorFacts & { attempt: number; backingOff: boolean }) {
    super(message, facts);
    this.attempt = facts.attempt;
    this.backingOff = facts.backingOff;
  }
}

/** Nobody knows what an earlier attempt did, or the attempts are used up. Do nothing; tell a person. */
export class UnresolvedError extends SemelError {
  readonly kind = 'Unresolved';
  readonly unresolvedReason: Unresolved_Reason;
  /** What the last owner said. */
  readonly detail: string;
  readonly attempt: number;
  readonly since: Date | undefined;

  constructor(
    message: string,
    facts: ErrorFacts & { unresolvedReason: Unresolved_Reason; detail: string; attempt: number; since: Date | undefined },
  ) {
    super(message, facts);
    this.unresolvedReason = facts.unresolvedReason;
    this.detail = facts.detail;
    this.attempt = facts.attempt;
    this.since = facts.since;
  }
}

/** What a work returned, where it did: absent is not the same as undefined. */
export interface Carried {
  readonly value: unknown;
}

/** The key is not this attempt's any more. If the work returned a value, it may stand beside another's. */
export class LeaseLostError extends SemelError {
  readonly kind = 'LeaseLost';
  /** What the work returned, if it did. */
  readonly carried: Carried | undefined;

  constructor(message: string, facts: ErrorFacts & { carried?: Carried | undefined } = {}) {
    super(message, facts);
    this.carried = facts.carried;
  }
}

/** No answer within the deadline. Nothing ran. */
export class StoreUnavailableError extends SemelError {
  readonly kind = 'StoreUnavailable';
  /** False only where the server said each time that nothing was written. */
  readonly mayHaveTakenEffect: boolean;

  constructor(message: string, facts: ErrorFacts & { mayHaveTakenEffect: boolean }) {
    super(message, facts);
    this.mayHaveTakenEffect = facts.mayHaveTakenEffect;
  }
}

/** A quota or a limit is reached. Ask again after `retryAfterMs`. */
export class ExhaustedError extends SemelError {
  readonly kind = 'Exhausted';
}

/** The credential is missing, wrong, or not sufficient. */
export class NotAllowedError extends SemelError {
  readonly kind = 'NotAllowed';
}

/** A field of a request, and what is wrong with it. */
export interface FieldProblem {
  readonly field: string;
  readonly problem: string;
}

/** The server or this library refused an argument. Fix the caller. */
export class InvalidError extends SemelError {
  readonly kind = 'Invalid';
  /** Which fields, where the server said so. */
  readonly fields: readonly FieldProblem[];

  constructor(message: string, facts: ErrorFacts & { fields?: readonly FieldProblem[] } = {}) {
    super(message, facts);
    this.fields = facts.fields ?? [];
  }
}

/** A bug of the server, or an answer that this library does not know. */
export class ServerError extends SemelError {
  readonly kind = 'ServerError';
}

/** The operation failed for good, now or when it was first called. */
export class OperationFailedError extends SemelError {
  readonly kind = 'OperationFailed';
  readonly failure: Failure;
  /** It failed before, and nothing ran now. */
  readonly replayed: boolean;
  /** What is stored, where it was replayed. */
  readonly result: Result | undefined;

  constructor(failure: Failure, facts: ErrorFacts & { replayed: boolean; result?: Result }) {
    super(`the operation failed for good, with code ${String(failure.code)}`, { reason: 'FAILED', ...facts });
    this.failure = failure;
    this.replayed = facts.replayed;
    this.result = facts.result;
  }
}

/** The work ran, and nobody knows whether its result is stored. Deliver it later with `completeHandoff`. */
export class CompletionUnknownError extends SemelError {
  readonly kind = 'CompletionUnknown';
  /** What the work returned; absent where it ended in `failure`. */
  readonly carried: Carried | undefined;
  readonly failure: Failure | undefined;
  /** What `completeHandoff` takes. It holds the idempotency key. */
  declare readonly handoff: Handoff;

  constructor(message: string, facts: ErrorFacts & { carried: Carried | undefined; failure: Failure | undefined; handoff: Handoff }) {
    super(message, facts);
    this.carried = facts.carried;
    this.failure = facts.failure;
    // Not enumerable: loggers that print an error's own fields do not print the key.
    Object.defineProperty(this, 'handoff', { value: facts.handoff, enumerable: false });
  }
}

/** The work ran, now or before; its value was too large, or could not be encoded. */
export class ResultNotStoredError extends SemelError {
  readonly kind = 'ResultNotStored';
  /** What this call's work returned, if it did. */
  readonly carried: Carried | undefined;
  readonly replayed: boolean;
  /** What is not stored is a final failure. */
  readonly failed: boolean;

  constructor(message: string, facts: ErrorFacts & { carried?: Carried | undefined; replayed: boolean; failed: boolean }) {
    super(message, facts);
    this.carried = facts.carried;
    this.replayed = facts.replayed;
    this.failed = facts.failed;
  }
}

/** The attempt is already completed with another result. The first stands. */
export class ResultConflictError extends SemelError {
  readonly kind = 'ResultConflict';
  readonly carried: Carried | undefined;

  constructor(message: string, facts: ErrorFacts & { carried?: Carried | undefined } = {}) {
    super(message, facts);
    this.carried = facts.carried;
  }
}

/** What is replayed cannot be read by this call's codec. */
export class UndecodableResultError extends SemelError {
  readonly kind = 'UndecodableResult';
  declare readonly result: Result;

  constructor(message: string, facts: ErrorFacts & { result: Result }) {
    super(message, facts);
    // Not enumerable: loggers that print an error's own fields do not print the payload.
    Object.defineProperty(this, 'result', { value: facts.result, enumerable: false });
  }
}

/** The point holds another value, or there are too many. */
export class CheckpointRefusedError extends SemelError {
  readonly kind = 'CheckpointRefused';
}

/** Nothing is known of the key. */
export class NotFoundError extends SemelError {
  readonly kind = 'NotFound';
}

/** The record's state, or the store, does not allow it. */
export class RefusedError extends SemelError {
  readonly kind = 'Refused';
}

/** An error of the library's own. */
export function refused(reason: string, message: string, cause?: unknown): InvalidError {
  return new InvalidError(message, { reason, cause });
}
