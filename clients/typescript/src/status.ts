import { fromBinary } from '@bufbuild/protobuf';
import { anyUnpack, durationMs } from '@bufbuild/protobuf/wkt';

import {
  CheckpointRefusedError,
  ExhaustedError,
  InvalidError,
  KeyExpiredError,
  KeyMismatchError,
  LeaseLostError,
  NotAllowedError,
  NotFoundError,
  RefusedError,
  ResultConflictError,
  ServerError,
  StoreUnavailableError,
  type Code,
  type FieldProblem,
  type SemelError,
} from './errors.js';
import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from './gen/google/rpc/error_details_pb.js';
import { StatusSchema } from './gen/google/rpc/status_pb.js';
import type { ItemError } from './gen/semel/v1/semel_pb.js';

const CODES: readonly Code[] = [
  'OK',
  'CANCELLED',
  'UNKNOWN',
  'INVALID_ARGUMENT',
  'DEADLINE_EXCEEDED',
  'NOT_FOUND',
  'ALREADY_EXISTS',
  'PERMISSION_DENIED',
  'RESOURCE_EXHAUSTED',
  'FAILED_PRECONDITION',
  'ABORTED',
  'OUT_OF_RANGE',
  'UNIMPLEMENTED',
  'INTERNAL',
  'UNAVAILABLE',
  'DATA_LOSS',
  'UNAUTHENTICATED',
];

/** The name of a gRPC code. */
export function codeName(code: number): Code {
  return CODES[code] ?? 'UNKNOWN';
}

/** A call that was answered with a status: what a transport rejects with. */
export class StatusError extends Error {
  /**
   * @param code gRPC's code as a number
   * @param text what the status says
   * @param details `grpc-status-details-bin`, where there is one
   */
  constructor(
    readonly code: number,
    readonly text: string,
    readonly details?: Uint8Array,
  ) {
    super(`${codeName(code)}: ${text}`);
    this.name = 'StatusError';
  }
}

/** What a status says. */
export interface Answer {
  readonly code: Code;
  readonly reason: string;
  readonly message: string;
  /** RetryInfo, in milliseconds. */
  readonly pauseMs?: number | undefined;
  readonly fields?: readonly FieldProblem[];
}

export const ANSWERED: Answer = { code: 'OK', reason: '', message: '' };

/** Reads what a transport rejected with. */
export function readStatus(error: unknown): Answer {
  if (!(error instanceof StatusError)) {
    return { code: 'UNKNOWN', reason: '', message: 'the call failed outside of gRPC' };
  }
  let reason = '';
  let pauseMs: number | undefined;
  const fields: FieldProblem[] = [];
  for (const detail of detailsOf(error)) {
    const info = anyUnpack(detail, ErrorInfoSchema);
    reason = info?.reason ?? reason;
    const delay = anyUnpack(detail, RetryInfoSchema)?.retryDelay;
    pauseMs = delay === undefined ? pauseMs : durationMs(delay);
    for (const violation of anyUnpack(detail, BadRequestSchema)?.fieldViolations ?? []) {
      fields.push({ field: violation.field, problem: violation.description });
    }
  }
  return { code: codeName(error.code), reason, message: error.text, pauseMs, fields };
}

function detailsOf(error: StatusError) {
  try {
    return error.details === undefined ? [] : fromBinary(StatusSchema, error.details).details;
  } catch {
    return []; // something in between wrote them
  }
}

/** The calls that only the owner of a key makes. */
const OWNER_CALLS = new Set(['Complete', 'Abort', 'Renew', 'SaveCheckpoint']);

/** The typed error of a slot of a batch that holds an error instead of a response. */
export function itemError(item: ItemError): SemelError {
  const answer = { code: codeName(item.code), reason: item.reason, message: item.message };
  return mapped('Complete', answer, item.reason !== 'STORE_UNAVAILABLE');
}

/** The typed error of what a call of a method came to. */
export function mapped(method: string, answer: Answer, mayHaveTakenEffect: boolean, cause?: unknown): SemelError {
  const { code, reason, message } = answer;
  const facts = { code, reason, retryAfterMs: answer.pauseMs, cause };
  switch (code) {
    case 'INVALID_ARGUMENT':
    case 'OUT_OF_RANGE':
      return new InvalidError(message, { ...facts, fields: answer.fields ?? [] });
    case 'FAILED_PRECONDITION':
      switch (reason) {
        case 'FINGERPRINT_MISMATCH':
          return new KeyMismatchError(message, facts);
        case 'KEY_EXPIRED':
          return new KeyExpiredError(message, facts);
        case 'RESULT_CONFLICT':
          return new ResultConflictError(message, facts);
        case 'ALREADY_COMPLETED':
          return new LeaseLostError(message, facts);
        case 'CHECKPOINT_CONFLICT':
        case 'CHECKPOINT_LIMIT':
          return new CheckpointRefusedError(message, facts);
        default:
          return new RefusedError(message, facts);
      }
    case 'ABORTED':
      return ['FENCE_LOST', 'ATTEMPT_ENDED'].includes(reason) ? new LeaseLostError(message, facts) : new ServerError(message, facts);
    case 'NOT_FOUND':
      return OWNER_CALLS.has(method) ? new LeaseLostError(message, facts) : new NotFoundError(message, facts);
    case 'RESOURCE_EXHAUSTED':
      return new ExhaustedError(message, facts);
    case 'UNAVAILABLE':
    case 'DEADLINE_EXCEEDED':
    case 'CANCELLED':
    case 'UNKNOWN':
      return new StoreUnavailableError(message, { ...facts, mayHaveTakenEffect });
    case 'UNAUTHENTICATED':
    case 'PERMISSION_DENIED':
      return new NotAllowedError(message, facts);
    default:
      return new ServerError(message, facts);
  }
}
