import { create, equals, fromBinary, toBinary, type DescMessage, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { anyPack, durationFromMs, timestampNow } from '@bufbuild/protobuf/wkt';

import { failed, type Failure } from '../failure.js';
import { ErrorInfoSchema } from '../gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../gen/google/rpc/status_pb.js';
import {
  AbortRequest_Disposition as Disposition,
  BeginResponseSchema,
  IdempotencyService,
  ItemErrorSchema,
  Result_Outcome as ResultOutcome,
  ResultSchema,
  State,
  Unresolved_Reason as UnresolvedReason,
  type AbortRequest,
  type AbortResponse,
  type BeginRequest,
  type BeginResponse,
  type Checkpoint,
  type CompleteRequest,
  type CompleteResponse,
  type Key,
  type LookupRequest,
  type RenewRequest,
  type RenewResponse,
  type Result,
  type SaveCheckpointRequest,
  type SaveCheckpointResponse,
} from '../gen/semel/v1/semel_pb.js';
import { StatusError } from '../status.js';
import type { Transport, UnaryCall } from '../transport.js';

/** What a Begin comes to. */
export type FakeDecision =
  | {
      readonly started: {
        readonly attempt?: number;
        readonly checkpoints?: readonly { readonly name: string; readonly value: string | Uint8Array }[];
      };
    }
  | { readonly replayed: { readonly json: unknown } | { readonly failure: Failure } | { readonly result: Result } }
  | { readonly inProgress: { readonly retryAfterMs?: number; readonly attempt?: number } }
  | { readonly unresolved: { readonly reason?: UnresolvedReason; readonly detail?: string; readonly attempt?: number } }
  /** Started; then every call of the owner is refused. */
  | { readonly fenceLost: Record<string, never> }
  /** No server answers. */
  | { readonly unavailable: Record<string, never> };

/** A call that a fake got. */
export interface RecordedCall {
  readonly method: string;
  readonly endpoint: string;
  readonly key: string;
}

interface Held {
  attemptId: string;
  attempt: number;
  fence: bigint;
  fingerprint: Uint8Array;
  state: 'running' | 'completed' | 'released' | 'unknown' | 'fenceLost';
  result: Result | undefined;
  checkpoints: Checkpoint[];
}

type Script = readonly [FakeDecision, ...FakeDecision[]];

const [INVALID_ARGUMENT, NOT_FOUND, FAILED_PRECONDITION, ABORTED, UNIMPLEMENTED, UNAVAILABLE] = [3, 5, 9, 10, 12, 14];
const LEASE_MS = 30_000;
const RETRY_AFTER_MS = 50;

/** The server that a fake client calls. */
export class FakeServer implements Transport {
  readonly #calls: RecordedCall[] = [];
  readonly #scripts = new Map<string, Script>();
  readonly #records = new Map<string, Held>();
  #fence = 0n;
  #closed = false;

  script(endpoint: string, key: string, [first, ...rest]: readonly FakeDecision[]): void {
    if (first === undefined) {
      throw new TypeError('a script has one decision at least');
    }
    this.#scripts.set(JSON.stringify([endpoint, key]), [first, ...rest]);
  }

  calls(): readonly RecordedCall[] {
    return [...this.#calls];
  }

  close(): void {
    this.#closed = true;
  }

  async unary(call: UnaryCall): Promise<Uint8Array> {
    await Promise.resolve(); // an answer never comes before the call returned
    call.signal?.throwIfAborted();
    if (this.#closed) {
      throw new StatusError(UNAVAILABLE, 'the fake is closed');
    }
    const { begin, complete, abort, renew, saveCheckpoint, lookup, batchBegin, batchComplete } = IdempotencyService.method;
    const answer = <I extends DescMessage, O extends DescMessage>(
      method: { name: string; input: I; output: O },
      give: (request: MessageShape<I>) => MessageInitShape<O>,
    ) => {
      const request = fromBinary(method.input, call.body);
      const key = (request as { key?: Key }).key;
      this.#calls.push({ method: method.name, endpoint: key?.endpoint ?? '', key: key?.idempotencyKey ?? '' });
      return toBinary(method.output, create(method.output, give(request)));
    };
    switch (call.path.split('/').at(-1)) {
      case begin.name:
        return answer(begin, (request) => this.#begin(request));
      case complete.name:
        return answer(complete, (request) => this.#complete(request));
      case abort.name:
        return answer(abort, (request) => this.#abort(request));
      case renew.name:
        return answer(renew, (request) => this.#renew(request));
      case saveCheckpoint.name:
        return answer(saveCheckpoint, (request) => this.#save(request));
      case lookup.name:
        return answer(lookup, (request) => this.#lookup(request));
      case batchBegin.name:
        return answer(batchBegin, ({ requests }) => ({ items: requests.map((each) => item(() => this.#begin(each))) }));
      case batchComplete.name:
        return answer(batchComplete, ({ requests }) => ({ items: requests.map((each) => item(() => this.#complete(each))) }));
      default:
        throw new StatusError(UNIMPLEMENTED, 'the fake has no operators');
    }
  }

  #begin(request: BeginRequest): BeginResponse {
    const { key } = request;
    if (key === undefined || key.idempotencyKey === '' || key.endpoint === '') {
      throw refusal(INVALID_ARGUMENT, 'INVALID_KEY', 'the key or the endpoint is empty');
    }
    const decision = this.#next(key);
    return decision === undefined ? this.#decide(request, nameOf(key)) : this.#scripted(request, nameOf(key), decision);
  }

  #next({ endpoint, idempotencyKey }: Key): FakeDecision | undefined {
    const name = JSON.stringify([endpoint, idempotencyKey]);
    const script = this.#scripts.get(name);
    if (script === undefined) {
      return undefined;
    }
    const [next, second, ...rest] = script;
    if (second !== undefined) {
      this.#scripts.set(name, [second, ...rest]);
    }
    return next;
  }

  #scripted(request: BeginRequest, name: string, decision: FakeDecision): BeginResponse {
    if ('started' in decision) {
      const { attempt = 1, checkpoints = [] } = decision.started;
      const saved = checkpoints.map(({ name: point, value }) => ({
        name: point,
        value: typeof value === 'string' ? Buffer.from(value) : value,
      }));
      return this.#grant(request, name, attempt, 'running', saved);
    }
    if ('fenceLost' in decision) {
      return this.#grant(request, name, 1, 'fenceLost', []);
    }
    if ('replayed' in decision) {
      return replay(resultOf(decision.replayed), this.#nextFence(), 1);
    }
    if ('inProgress' in decision) {
      const { retryAfterMs = RETRY_AFTER_MS, attempt = 1 } = decision.inProgress;
      return inProgress(attempt, retryAfterMs);
    }
    if ('unresolved' in decision) {
      const value = { reason: UnresolvedReason.OUTCOME_UNKNOWN, attempt: 1, ...decision.unresolved, since: timestampNow() };
      return create(BeginResponseSchema, { decision: { case: 'unresolved', value } });
    }
    throw new StatusError(UNAVAILABLE, 'the script says that no server answers');
  }

  /** As a server decides, under a policy that lets the next attempt run. */
  #decide(request: BeginRequest, name: string): BeginResponse {
    const held = this.#records.get(name);
    if (held === undefined) {
      return this.#grant(request, name, 1, 'running', []);
    }
    const [asked, known] = [request.fingerprint, held.fingerprint];
    if (asked.length > 0 && known.length > 0 && Buffer.compare(asked, known) !== 0) {
      throw refusal(FAILED_PRECONDITION, 'FINGERPRINT_MISMATCH', 'the key stands for another request');
    }
    if (held.result !== undefined) {
      return replay(held.result, held.fence, held.attempt);
    }
    if (held.state === 'running' && held.attemptId !== request.attemptId) {
      return inProgress(held.attempt, RETRY_AFTER_MS);
    }
    if (held.attemptId !== request.attemptId) {
      return this.#grant(request, name, held.attempt + 1, 'running', held.checkpoints);
    }
    if (held.state === 'running') {
      return started(held, request);
    }
    throw refusal(ABORTED, 'ATTEMPT_ENDED', 'the attempt ended before');
  }

  #nextFence(): bigint {
    this.#fence += 1n;
    return this.#fence;
  }

  #grant(
    request: BeginRequest,
    name: string,
    attempt: number,
    state: Held['state'],
    saved: readonly { name: string; value: Uint8Array }[],
  ): BeginResponse {
    const held: Held = {
      attemptId: request.attemptId,
      attempt,
      fence: this.#nextFence(),
      fingerprint: request.fingerprint,
      state,
      result: undefined,
      checkpoints: saved.map((point) => ({ ...point, fence: 0n }) as Checkpoint),
    };
    this.#records.set(name, held);
    return started(held, request);
  }

  /** What the caller owns, or the refusal of a server. */
  #owned(request: { key?: Key | undefined; fence: bigint; attemptId: string }): Held {
    const held = request.key === undefined ? undefined : this.#records.get(nameOf(request.key));
    if (held === undefined) {
      throw refusal(NOT_FOUND, 'KEY_NOT_FOUND', 'nothing is known of the key');
    }
    if (held.state === 'fenceLost' || held.fence !== request.fence || held.attemptId !== request.attemptId) {
      throw refusal(ABORTED, 'FENCE_LOST', 'another attempt owns the key');
    }
    return held;
  }

  #running(request: { key?: Key | undefined; fence: bigint; attemptId: string }): Held {
    const held = this.#owned(request);
    if (held.state === 'completed') {
      throw refusal(FAILED_PRECONDITION, 'ALREADY_COMPLETED', 'the attempt is completed');
    }
    if (held.state !== 'running') {
      throw refusal(ABORTED, 'FENCE_LOST', 'the attempt gave the key up');
    }
    return held;
  }

  #complete(request: CompleteRequest): Omit<CompleteResponse, '$typeName'> {
    const held = this.#owned(request);
    if (request.result === undefined) {
      throw refusal(INVALID_ARGUMENT, 'INVALID_RESULT', 'there is no result');
    }
    const repeatedCall = held.result !== undefined;
    if (held.result !== undefined && !equals(ResultSchema, held.result, request.result)) {
      throw refusal(FAILED_PRECONDITION, 'RESULT_CONFLICT', 'the attempt is completed with another result');
    }
    if (held.state === 'released') {
      throw refusal(ABORTED, 'FENCE_LOST', 'the attempt gave the key up');
    }
    Object.assign(held, { state: 'completed', result: request.result });
    return { completedAt: timestampNow(), repeatedCall };
  }

  #abort(request: AbortRequest): Omit<AbortResponse, '$typeName'> {
    const held = this.#owned(request);
    if (held.state === 'completed') {
      throw refusal(FAILED_PRECONDITION, 'ALREADY_COMPLETED', 'the attempt is completed');
    }
    const state = request.disposition === Disposition.RELEASE ? 'released' : 'unknown';
    const repeatedCall = held.state === state;
    if (held.state === 'released' && state === 'unknown') {
      throw refusal(ABORTED, 'FENCE_LOST', 'the attempt gave the key up');
    }
    held.state = state;
    if (state === 'released' && held.checkpoints.length === 0) {
      held.fingerprint = new Uint8Array();
    }
    return { repeatedCall };
  }

  #renew(request: RenewRequest): Omit<RenewResponse, '$typeName'> {
    this.#running(request);
    return { lease: request.lease ?? durationFromMs(LEASE_MS) };
  }

  #save(request: SaveCheckpointRequest): Omit<SaveCheckpointResponse, '$typeName'> {
    const held = this.#running(request);
    const known = held.checkpoints.find((point) => point.name === request.name);
    if (known !== undefined && Buffer.compare(known.value, request.value) !== 0) {
      throw refusal(FAILED_PRECONDITION, 'CHECKPOINT_CONFLICT', 'the point holds another value');
    }
    if (known === undefined) {
      held.checkpoints.push({ name: request.name, value: request.value, fence: held.fence } as Checkpoint);
    }
    return { repeatedCall: known !== undefined };
  }

  #lookup(request: LookupRequest): MessageInitShape<typeof IdempotencyService.method.lookup.output> {
    const { key } = request;
    const held = key === undefined ? undefined : this.#records.get(nameOf(key));
    if (key === undefined || held === undefined) {
      throw refusal(NOT_FOUND, 'KEY_NOT_FOUND', 'nothing is known of the key');
    }
    const states = {
      running: State.IN_PROGRESS,
      fenceLost: State.IN_PROGRESS,
      completed: State.COMPLETED,
      released: State.RELEASED,
      unknown: State.LEASE_LOST,
    };
    const { fence, attempt, fingerprint, checkpoints } = held;
    const record = { key, state: states[held.state], fence, attempt, fingerprint, checkpoints };
    return { record: held.result === undefined ? record : { ...record, result: held.result } };
  }
}

function nameOf({ tenant, endpoint, idempotencyKey }: Key): string {
  return JSON.stringify([tenant, endpoint, idempotencyKey]);
}

function started({ fence, attempt, checkpoints }: Held, request: BeginRequest): BeginResponse {
  const value = { fence, attempt, checkpoints, lease: request.lease ?? durationFromMs(LEASE_MS), waited: durationFromMs(0) };
  return create(BeginResponseSchema, { decision: { case: 'started', value } });
}

function replay(result: Result, fence: bigint, attempt: number): BeginResponse {
  return create(BeginResponseSchema, { decision: { case: 'replayed', value: { result, fence, attempt, completedAt: timestampNow() } } });
}

function inProgress(attempt: number, retryAfterMs: number): BeginResponse {
  return create(BeginResponseSchema, { decision: { case: 'inProgress', value: { attempt, retryAfter: durationFromMs(retryAfterMs) } } });
}

function resultOf(replayed: { json: unknown } | { failure: Failure } | { result: Result }): Result {
  if ('result' in replayed) {
    return replayed.result;
  }
  if ('failure' in replayed) {
    return failed(replayed.failure).result;
  }
  const payload = Buffer.from(JSON.stringify(replayed.json));
  return create(ResultSchema, { outcome: ResultOutcome.SUCCESS, contentType: 'application/json', payload });
}

function refusal(code: number, reason: string, text: string): StatusError {
  const details = [anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: 'semel.v1' }))];
  return new StatusError(code, text, toBinary(StatusSchema, create(StatusSchema, { code, message: text, details })));
}

function item<R>(give: () => R) {
  try {
    return { outcome: { case: 'response' as const, value: give() } };
  } catch (error) {
    if (!(error instanceof StatusError)) {
      throw error;
    }
    const [detail] = error.details === undefined ? [] : fromBinary(StatusSchema, error.details).details;
    const reason = detail === undefined ? '' : fromBinary(ErrorInfoSchema, detail.value).reason;
    return { outcome: { case: 'error' as const, value: create(ItemErrorSchema, { code: error.code, reason, message: error.text }) } };
  }
}
