import { create } from '@bufbuild/protobuf';

import { jsonText } from './canonical.js';
import { UndecodableResultError } from './errors.js';
import {
  AbortRequest_Disposition as Disposition,
  Result_Outcome as ResultOutcome,
  ResultSchema,
  type Result,
} from './gen/semel/v1/semel_pb.js';

/** The content type of stored failures, which every language reads. */
export const FAILURE_CONTENT_TYPE = 'application/vnd.semel.failure+json';

/** The longest detail of an Abort, in bytes. */
const MOST_DETAIL = 1024;

/** What an error of a work says of its side effect: it failed for good, nothing happened, or it may have happened. */
export type Meaning = 'final' | 'retryable' | 'unknown';

/** What an unexpected error means; `release` is: nothing happened. */
export type OnUnexpected = 'unknown' | 'release' | 'final';

/** A final failure, such as a declined card. */
export interface Failure {
  readonly type: string;
  readonly message: string;
  /** The operation's own code: an HTTP status, a gRPC code. 32 bits. */
  readonly code: number;
  /** Any value of JSON. */
  readonly details?: unknown;
}

/** Thrown by a work that failed for good: the failure is stored and replayed. */
export class Final extends Error {
  readonly failure: Failure;

  constructor(type: string, message = '', options: { code?: number; details?: unknown; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'Final';
    const { code = 0, details } = options;
    this.failure = details === undefined ? { type, message, code } : { type, message, code, details };
  }
}

/** Thrown by a work that did nothing: a statement of fact. The next call may run, after `retryAfterMs`. */
export class Retryable extends Error {
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: { retryAfterMs?: number; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'Retryable';
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** Thrown by a work that may have happened. */
export class Unknown extends Error {
  constructor(message: string, options: { cause?: unknown } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.name = 'Unknown';
  }
}

/** A result that is to be stored. */
export interface ResultReport {
  readonly result: Result;
  /** Where the result is a final failure. */
  readonly failure?: Failure;
  /** Why the result has no payload, where it has none. */
  readonly omitted?: unknown;
}

/** Why there is no result. */
export interface AbortReport {
  readonly disposition: Disposition;
  readonly detail: string;
  readonly retryAfterMs?: number | undefined;
}

/** How errors are told apart. */
export interface Telling {
  readonly onUnexpected: OnUnexpected;
  readonly classify?: ((error: unknown) => Meaning | undefined) | undefined;
  /** With what the signal of the work fired, if it did. */
  readonly cancelledWith?: unknown;
}

/** How a work that ended in an error is reported, by the table in clients/README.md. */
export function reportOf(error: unknown, telling: Telling): ResultReport | AbortReport {
  const opinion = telling.classify?.(error);
  if (opinion !== undefined) {
    return reportOfMeaning(error, opinion);
  }
  const causes = causesOf(error);
  const final = causes.find((each) => each instanceof Final);
  if (final !== undefined) {
    return failed(final.failure);
  }
  if (causes.some((each) => each instanceof Retryable)) {
    return reportOfMeaning(error, 'retryable');
  }
  const cancelled = telling.cancelledWith !== undefined && causes.includes(telling.cancelledWith);
  if (cancelled || causes.some((each) => each instanceof Unknown || endedMidway(each))) {
    return reportOfMeaning(error, 'unknown');
  }
  return reportOfMeaning(error, telling.onUnexpected === 'release' ? 'retryable' : telling.onUnexpected);
}

function reportOfMeaning(error: unknown, meaning: Meaning): ResultReport | AbortReport {
  const causes = causesOf(error);
  switch (meaning) {
    case 'final': {
      const final = causes.find((each) => each instanceof Final);
      return failed(final?.failure ?? { type: 'unexpected', message: messageOf(error), code: 0 });
    }
    case 'retryable': {
      const retryable = causes.find((each) => each instanceof Retryable);
      return { disposition: Disposition.RELEASE, detail: detailOf(error), retryAfterMs: retryable?.retryAfterMs };
    }
    case 'unknown':
      return { disposition: Disposition.OUTCOME_UNKNOWN, detail: detailOf(error) };
  }
}

/** The error, its cause, the cause's cause, and so on. */
function causesOf(error: unknown): unknown[] {
  const found: unknown[] = [];
  for (let each = error; each !== undefined && each !== null && !found.includes(each); each = (each as { cause?: unknown }).cause) {
    found.push(each);
  }
  return found;
}

const TIMEOUT_CODES = new Set([
  'ETIMEDOUT',
  'ESOCKETTIMEDOUT',
  'UND_ERR_HEADERS_TIMEOUT',
  'UND_ERR_BODY_TIMEOUT',
  'UND_ERR_CONNECT_TIMEOUT',
]);
const GRPC_CANCELLED = 1;
const GRPC_DEADLINE_EXCEEDED = 4;

/** Whether this is a timeout or a cancellation: what was under way may have happened. */
function endedMidway(error: unknown): boolean {
  const { name, code } = error as { name?: unknown; code?: unknown };
  if (name === 'AbortError' || name === 'TimeoutError' || (typeof code === 'string' && TIMEOUT_CODES.has(code))) {
    return true;
  }
  // The errors of gRPC's and Connect's clients have a numeric code, and metadata.
  const ofGrpc = typeof error === 'object' && error !== null && 'metadata' in error;
  return ofGrpc && (code === GRPC_CANCELLED || code === GRPC_DEADLINE_EXCEEDED);
}

/** The report of a final failure. */
export function failed(given: Failure): ResultReport {
  const failure: Failure = { ...given, type: given.type === '' ? 'unknown' : given.type };
  const result = create(ResultSchema, {
    outcome: ResultOutcome.FAILURE,
    code: failure.code,
    contentType: FAILURE_CONTENT_TYPE,
  });
  try {
    result.payload = Buffer.from(jsonText(failure));
    return { result, failure };
  } catch (error) {
    result.payloadOmitted = true;
    return { result, failure, omitted: error };
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** What people are told of an error: its type and its message, cut at a character's end. */
function detailOf(error: unknown): string {
  const type = error instanceof Error ? error.name : typeof error;
  const detail = Buffer.from(`${type}: ${messageOf(error)}`.toWellFormed());
  let end = Math.min(detail.length, MOST_DETAIL);
  while (end < detail.length && (detail.readUInt8(end) & 0xc0) === 0x80) {
    end -= 1;
  }
  return detail.toString('utf8', 0, end);
}

/** Reads what is stored of a final failure. */
export function readFailure(result: Result): Failure {
  if (plainType(result.contentType) !== FAILURE_CONTENT_TYPE) {
    return { type: 'unknown', message: '', code: result.code };
  }
  const read = parsed(result.payload);
  const { type, message = '', code = 0, details } = read ?? {};
  const isCode = typeof code === 'number' && (code | 0) === code;
  if (typeof type !== 'string' || type === '' || typeof message !== 'string' || !isCode) {
    throw new UndecodableResultError('the stored failure cannot be read', { reason: 'FAILURE', result });
  }
  return details === undefined ? { type, message, code } : { type, message, code, details };
}

function parsed(payload: Uint8Array): Record<string, unknown> | undefined {
  try {
    const read: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(payload));
    return typeof read === 'object' && read !== null && !Array.isArray(read) ? (read as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** A content type without its parameters, in lower case. */
export function plainType(contentType: string): string {
  return (contentType.split(';', 1)[0] ?? '').trim().replace(/[A-Z]/g, (letter) => letter.toLowerCase());
}
