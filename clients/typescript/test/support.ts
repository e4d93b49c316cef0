import { appendFileSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { create, fromBinary, toBinary, type MessageInitShape } from '@bufbuild/protobuf';
import { anyPack, durationFromMs } from '@bufbuild/protobuf/wkt';

import { BadRequestSchema, ErrorInfoSchema, RetryInfoSchema } from '../src/gen/google/rpc/error_details_pb.js';
import { StatusSchema } from '../src/gen/google/rpc/status_pb.js';
import { BeginResponseSchema, IdempotencyService, OperatorService } from '../src/gen/semel/v1/semel_pb.js';
import { StatusError, type SemelError, type Transport, type UnaryCall } from '../src/index.js';
import { codeName } from '../src/status.js';

/** Where the vectors are, from the folder of the package: npm runs scripts there. */
const VECTORS = join(process.cwd(), '..', 'vectors');

/** The cases of a file of vectors. */
export function vectors<Case>(file: string): Case[] {
  return (JSON.parse(readFileSync(join(VECTORS, file), 'utf8')) as { cases: Case[] }).cases;
}

/** Reports how often something was done, where counts are gathered. */
export function count(name: string, times: number): void {
  const file = process.env['SEMEL_COUNTS_FILE'];
  if (file !== undefined && file !== '') {
    appendFileSync(file, `${name} ${String(times)}\n`);
  }
}

/** The reason with which something is refused. */
export function refusal(of: () => unknown): string {
  try {
    of();
  } catch (error) {
    return (error as SemelError).reason;
  }
  return '(not refused)';
}

/** A status as a server answers it. */
export function status(code: string, reason = '', retryInfoMs?: number, field?: string): StatusError {
  const number = Array.from({ length: 17 }, (_, at) => at).find((at) => codeName(at) === code);
  if (number === undefined) {
    throw new Error(`no code is called ${code}`);
  }
  const details = [];
  if (reason !== '') {
    details.push(anyPack(ErrorInfoSchema, create(ErrorInfoSchema, { reason, domain: 'semel.v1' })));
  }
  if (retryInfoMs !== undefined) {
    details.push(anyPack(RetryInfoSchema, create(RetryInfoSchema, { retryDelay: durationFromMs(retryInfoMs) })));
  }
  if (field !== undefined) {
    details.push(anyPack(BadRequestSchema, create(BadRequestSchema, { fieldViolations: [{ field, description: 'is wrong' }] })));
  }
  return new StatusError(number, 'said', toBinary(StatusSchema, create(StatusSchema, { code: number, message: 'said', details })));
}

/** A Begin's answer. */
export function begun(decision: MessageInitShape<typeof BeginResponseSchema>['decision']): Uint8Array {
  return toBinary(BeginResponseSchema, create(BeginResponseSchema, decision === undefined ? {} : { decision }));
}

/** What a method's answer is unless a test says otherwise: Started, and OK. */
export function usual(method: string): Uint8Array {
  return method === 'Begin'
    ? begun({ case: 'started', value: { fence: 7n, attempt: 1, lease: durationFromMs(60_000) } })
    : new Uint8Array();
}

/** A call that was sent. */
export interface SentCall {
  readonly method: string;
  // eslint-disable-next-line @typescript-eslint/no-explicit-any -- the tests know of which kind it is
  readonly request: any;
  readonly headers: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
}

const METHODS = [...IdempotencyService.methods, ...OperatorService.methods];

/** A transport that answers what a test says. */
export class ScriptedTransport implements Transport {
  readonly calls: SentCall[] = [];
  closed = false;

  constructor(private readonly answer: (call: SentCall, signal: AbortSignal | undefined) => Promise<Uint8Array> | Uint8Array | undefined) {}

  async unary(call: UnaryCall): Promise<Uint8Array> {
    const method = METHODS.find(({ name }) => call.path.endsWith(`/${name}`));
    if (method === undefined) {
      throw new Error(`no method has the path ${call.path}`);
    }
    const request = fromBinary(method.input, call.body);
    const sent = { method: method.name, request, headers: Object.fromEntries(call.headers), timeoutMs: call.timeoutMs };
    this.calls.push(sent);
    await Promise.resolve();
    return (await this.answer(sent, call.signal)) ?? usual(method.name);
  }

  methods(): string[] {
    return this.calls.map(({ method }) => method);
  }

  close(): void {
    this.closed = true;
  }
}
