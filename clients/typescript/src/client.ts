import { clone, create, type DescMessage, type DescMethodUnary, type MessageInitShape, type MessageShape } from '@bufbuild/protobuf';
import { durationMs } from '@bufbuild/protobuf/wkt';

import { Access } from './access.js';
import { encoded } from './codec.js';
import type { Context } from './context.js';
import { refused } from './errors.js';
import {
  AbortRequestSchema,
  BatchBeginRequestSchema,
  BatchCompleteRequestSchema,
  BeginRequestSchema,
  CompleteRequestSchema,
  ForgetRecordRequestSchema,
  GetPolicyRequestSchema,
  IdempotencyService,
  ListRecordsRequestSchema,
  LookupRequestSchema,
  OperatorService,
  RenewRequestSchema,
  ResolveRecordRequestSchema,
  SaveCheckpointRequestSchema,
  type AbortResponse,
  type BatchBeginResponse,
  type BatchCompleteResponse,
  type BeginResponse,
  type CompleteResponse,
  type ForgetRecordResponse,
  type GetPolicyResponse,
  type Key,
  type ListRecordsResponse,
  type LookupResponse,
  type RenewResponse,
  type ResolveRecordResponse,
  type SaveCheckpointResponse,
} from './gen/semel/v1/semel_pb.js';
import { Handoff } from './handoff.js';
import { Run, type Outcome, type Work } from './once.js';
import { onceSettings, type OnceOptions } from './once_options.js';
import { filled, type ClientOptions } from './options.js';
import { Reporter } from './report.js';
import { Sender } from './sending.js';
import { Telemetry } from './telemetry.js';
import { GrpcTransport, type Transport } from './transport.js';

/** How one plain call is made. */
export interface CallOptions {
  /** For all its sends together, in milliseconds. Default: the client's. */
  readonly timeoutMs?: number | undefined;
  readonly signal?: AbortSignal | undefined;
}

const clients = IdempotencyService.method;
const operators = OperatorService.method;

/** Calls a semel server. Made once, shared by everybody, and closed at the end. It connects when it is used. */
export class Client implements AsyncDisposable {
  readonly #context: Context;
  readonly #transport: Transport;
  readonly #background = new Set<Promise<void>>();
  #closed = false;

  /** @throws InvalidError options that do not go together, or files that cannot be used */
  constructor(options: ClientOptions = {}) {
    const settings = filled(options);
    const access = new Access(settings);
    const telemetry = new Telemetry();
    this.#transport = options.transport ?? new GrpcTransport(settings);
    this.#context = {
      settings,
      telemetry,
      sender: new Sender(this.#transport, access, telemetry),
      isClosed: () => this.#closed,
      inBackground: (work) => {
        this.#background.add(work);
        void work.finally(() => this.#background.delete(work));
      },
    };
  }

  /**
   * Runs the work if nobody has for this endpoint and key, and gives its value; or gives the value of whoever did.
   *
   * @param endpoint the operation, such as `payments/Charge`
   * @param key the same for every retry of one logical operation, and for nothing else; see `keys`
   * @param request what the key stands for: a value, bytes, or what `json`, `jsonText`, `raw`, `http` give; undefined and null are none.
   *   A later call with the same key and another request rejects with KeyMismatchError
   * @param work gets the attempt; what it returns is stored, and what it throws is told apart by the table in clients/README.md
   * @throws KeyMismatchError, KeyExpiredError, InProgressError, UnresolvedError, StoreUnavailableError, ExhaustedError, NotAllowedError,
   *   InvalidError, ServerError, UndecodableResultError where nothing ran; OperationFailedError, CompletionUnknownError,
   *   ResultNotStoredError, ResultConflictError, LeaseLostError; the reason of the caller's signal; and the work's own error, where that
   *   is not a final one
   */
  async once<T>(endpoint: string, key: string, request: unknown, work: Work<T>, options: OnceOptions<T> = {}): Promise<Outcome<T>> {
    return await new Run(this.#context, onceSettings(this.#context.settings, options), endpoint, key).once(request, work);
  }

  /** Goes on with an attempt that another process handed off: renews its lease, runs the work, and reports, as `once` does. */
  async resume<T>(handoff: Handoff | string, work: Work<T>, options: OnceOptions<T> = {}): Promise<Outcome<T>> {
    const read = typeof handoff === 'string' ? Handoff.parse(handoff) : handoff;
    const { endpoint, key } = read.parts;
    return await new Run(this.#context, onceSettings(this.#context.settings, options), endpoint, key).resume(read, work);
  }

  /** Reports the value of an attempt that was handed off, or whose own report could not be delivered. */
  async completeHandoff<T>(
    handoff: Handoff | string,
    value: T,
    options: Pick<OnceOptions<T>, 'codec' | 'retentionMs'> = {},
  ): Promise<void> {
    this.#check();
    const read = typeof handoff === 'string' ? Handoff.parse(handoff) : handoff;
    const { codec, retentionMs } = onceSettings(this.#context.settings, options);
    await new Reporter(this.#context, read.parts, retentionMs).complete(encoded(codec, value), { value });
  }

  /** Waits for what is given back in the background, two seconds at most, and closes the connections. Calls under way end. */
  async close(): Promise<void> {
    if (this.#closed) {
      return;
    }
    this.#closed = true;
    await Promise.all(this.#background);
    this.#context.sender.gone = true;
    this.#transport.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #check(): void {
    if (this.#closed) {
      throw refused('CLIENT_CLOSED', 'the client is closed');
    }
  }

  async #plain<I extends DescMessage, O extends DescMessage>(
    method: DescMethodUnary<I, O>,
    request: MessageShape<I>,
    options: CallOptions,
    waitMs = 0,
  ): Promise<MessageShape<O>> {
    this.#check();
    options.signal?.throwIfAborted();
    const { timeoutMs, tryTimeoutMs } = this.#context.settings;
    const how = { withinMs: options.timeoutMs ?? timeoutMs, tryMs: tryTimeoutMs, waitMs, signal: options.signal };
    return await this.#context.sender.send(method, request, how);
  }

  /** A copy of a request of which the key names the client's tenant where it names none. */
  #keyed<D extends DescMessage>(schema: D, request: MessageInitShape<D>): MessageShape<D> {
    const copy = clone(schema, create(schema, request));
    this.#fillTenant((copy as { key?: Key }).key);
    return copy;
  }

  #fillTenant(of: { tenant: string } | undefined): void {
    if (of?.tenant === '') {
      of.tenant = this.#context.settings.tenant;
    }
  }

  /** Reserves a key, or tells what became of it. Make an `attemptId` for each attempt. A wait is added to its deadlines. */
  async begin(request: MessageInitShape<typeof BeginRequestSchema>, options: CallOptions = {}): Promise<BeginResponse> {
    const begin = this.#keyed(BeginRequestSchema, request);
    return await this.#plain(clients.begin, begin, options, begin.wait === undefined ? 0 : Math.max(0, durationMs(begin.wait)));
  }

  /** Records the result of the attempt that holds the fence. */
  async complete(request: MessageInitShape<typeof CompleteRequestSchema>, options: CallOptions = {}): Promise<CompleteResponse> {
    return await this.#plain(clients.complete, this.#keyed(CompleteRequestSchema, request), options);
  }

  /** Gives the key up without a result. */
  async abort(request: MessageInitShape<typeof AbortRequestSchema>, options: CallOptions = {}): Promise<AbortResponse> {
    return await this.#plain(clients.abort, this.#keyed(AbortRequestSchema, request), options);
  }

  /** Tells what is known of a key, and changes nothing. */
  async lookup(request: MessageInitShape<typeof LookupRequestSchema>, options: CallOptions = {}): Promise<LookupResponse> {
    return await this.#plain(clients.lookup, this.#keyed(LookupRequestSchema, request), options);
  }

  /** Extends the owner's lease. */
  async renew(request: MessageInitShape<typeof RenewRequestSchema>, options: CallOptions = {}): Promise<RenewResponse> {
    return await this.#plain(clients.renew, this.#keyed(RenewRequestSchema, request), options);
  }

  /** Saves a recovery point under the owner's fence. */
  async saveCheckpoint(
    request: MessageInitShape<typeof SaveCheckpointRequestSchema>,
    options: CallOptions = {},
  ): Promise<SaveCheckpointResponse> {
    return await this.#plain(clients.saveCheckpoint, this.#keyed(SaveCheckpointRequestSchema, request), options);
  }

  /** `begin` for up to 1,000 keys; each item stands alone. */
  async batchBegin(request: MessageInitShape<typeof BatchBeginRequestSchema>, options: CallOptions = {}): Promise<BatchBeginResponse> {
    const batch = clone(BatchBeginRequestSchema, create(BatchBeginRequestSchema, request));
    for (const item of batch.requests) {
      this.#fillTenant(item.key);
    }
    return await this.#plain(clients.batchBegin, batch, options);
  }

  /** `complete` for up to 1,000 keys; each item stands alone. */
  async batchComplete(
    request: MessageInitShape<typeof BatchCompleteRequestSchema>,
    options: CallOptions = {},
  ): Promise<BatchCompleteResponse> {
    const batch = clone(BatchCompleteRequestSchema, create(BatchCompleteRequestSchema, request));
    for (const item of batch.requests) {
      this.#fillTenant(item.key);
    }
    return await this.#plain(clients.batchComplete, batch, options);
  }

  /** Pages through a tenant's live records. */
  async listRecords(request: MessageInitShape<typeof ListRecordsRequestSchema>, options: CallOptions = {}): Promise<ListRecordsResponse> {
    const list = clone(ListRecordsRequestSchema, create(ListRecordsRequestSchema, request));
    this.#fillTenant(list);
    return await this.#plain(operators.listRecords, list, options);
  }

  /** Settles a record whose outcome nobody knows. */
  async resolveRecord(
    request: MessageInitShape<typeof ResolveRecordRequestSchema>,
    options: CallOptions = {},
  ): Promise<ResolveRecordResponse> {
    return await this.#plain(operators.resolveRecord, this.#keyed(ResolveRecordRequestSchema, request), options);
  }

  /** Erases everything of a record but its fence. */
  async forgetRecord(
    request: MessageInitShape<typeof ForgetRecordRequestSchema>,
    options: CallOptions = {},
  ): Promise<ForgetRecordResponse> {
    return await this.#plain(operators.forgetRecord, this.#keyed(ForgetRecordRequestSchema, request), options);
  }

  /** Tells the policy in force for a tenant and an endpoint. */
  async getPolicy(request: MessageInitShape<typeof GetPolicyRequestSchema>, options: CallOptions = {}): Promise<GetPolicyResponse> {
    const asked = clone(GetPolicyRequestSchema, create(GetPolicyRequestSchema, request));
    this.#fillTenant(asked);
    return await this.#plain(operators.getPolicy, asked, options);
  }
}
