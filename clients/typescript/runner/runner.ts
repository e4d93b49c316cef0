// What the driver of the behavioural suite tells what to do: clients/vectors/scenarios/README.md. It checks nothing.
import { createInterface } from 'node:readline';

import {
  BeginRequestSchema,
  BatchBeginRequestSchema,
  Result_Outcome as ResultOutcome,
  type BatchBeginResponse_Item,
} from '../src/gen/semel/v1/semel_pb.js';
import { create } from '@bufbuild/protobuf';
import { StringValueSchema, durationFromMs } from '@bufbuild/protobuf/wkt';

import { Client, bytesCodec, protobufCodec, type ClientOptions, type Codec, type OnceOptions, type OnUnexpected } from '../src/index.js';
import { Handoff, http, json, jsonText, raw } from '../src/index.js';
import { FakeClient } from '../src/testing/index.js';
import { resultEvent } from './results.js';
import { decisionOf, type Script } from './scripts.js';
import { observed } from './telemetry.js';
import { openGate, workOf, type Step } from './works.js';

interface RequestFields {
  json?: unknown;
  json_text?: string;
  raw_hex?: string;
  http?: { method: string; path: string; headers?: [string, string][]; json?: unknown };
  ignore?: string[];
}

interface OptionFields {
  wait_ms?: number;
  lease_ms?: number;
  retention_ms?: number;
  timeout_ms?: number;
  first_sent_ms?: number;
  retry?: boolean;
  labels?: Record<string, string>;
  when_unavailable?: 'fail_closed' | 'fail_open';
  on_unexpected?: OnUnexpected;
  codec?: 'json' | 'bytes' | 'protobuf' | 'text';
}

interface Command {
  do: string;
  client: string;
  call: string;
  gate: string;
  address?: string;
  endpoint: string;
  key: string;
  keys: string[];
  values: { key: string; value: unknown }[];
  handoff: string;
  value: unknown;
  lease_ms?: number;
  request?: RequestFields | null;
  options?: OptionFields & { tenant?: string; token?: string; try_timeout_ms?: number; report_timeout_ms?: number };
  work: Step[];
  fake?: Script[];
}

const FIELDS: Record<string, readonly string[]> = {
  open: ['client', 'address', 'options', 'fake'],
  close: ['client'],
  once: ['call', 'client', 'endpoint', 'key', 'request', 'options', 'work'],
  resume: ['call', 'client', 'handoff', 'options', 'work'],
  complete_handoff: ['call', 'client', 'handoff', 'value'],
  renew: ['call', 'client', 'handoff', 'lease_ms'],
  batch_begin: ['call', 'client', 'endpoint', 'keys'],
  batch_complete: ['call', 'client', 'endpoint', 'values'],
  cancel: ['call'],
  gate: ['gate'],
  recorded: ['client'],
};

const clients = new Map<string, Client>();
const fakes = new Map<string, FakeClient>();
const callers = new Map<string, AbortController>();
const batched = new Map<string, { attemptId: string; fence: bigint }>();

const textCodec: Codec<unknown> = {
  contentType: 'text/plain',
  encode: (value) => Buffer.from(String(value)),
  decode: (payload) => Buffer.from(payload).toString(),
};

/** Makes texts messages, and messages texts, for the library's own codec of messages. */
const messages = protobufCodec(StringValueSchema);
const wrappedCodec: Codec<unknown> = {
  contentType: messages.contentType,
  encode: (value) => messages.encode(create(StringValueSchema, { value: String(value) })),
  decode: (payload) => messages.decode(payload).value,
};

function say(event: Record<string, unknown>): void {
  process.stdout.write(`${JSON.stringify(event)}\n`);
}

function clientOf({ client }: Command): Client {
  const found = clients.get(client);
  if (found === undefined) {
    throw new Error(`no client is called ${client}`);
  }
  return found;
}

function open({ client: name, address, options = {}, fake }: Command): Client {
  const given: ClientOptions = {
    address,
    tenant: options.tenant,
    token: options.token,
    timeoutMs: options.timeout_ms,
    tryTimeoutMs: options.try_timeout_ms,
    reportTimeoutMs: options.report_timeout_ms,
    onUnexpected: options.on_unexpected,
  };
  if (fake === undefined) {
    return new Client(given);
  }
  const client = new FakeClient(given);
  fakes.set(name, client);
  for (const { endpoint, key, decisions } of fake) {
    client.script(endpoint, key, ...decisions.map(decisionOf));
  }
  return client;
}

function requestOf(fields: RequestFields | null | undefined): unknown {
  if (fields === null || fields === undefined) {
    return undefined;
  }
  const { ignore = [] } = fields;
  if (fields.json_text !== undefined) {
    return jsonText(fields.json_text, { ignore });
  }
  if (fields.raw_hex !== undefined) {
    return raw(Buffer.from(fields.raw_hex, 'hex'));
  }
  if (fields.http !== undefined) {
    const { method, path, headers = [] } = fields.http;
    return http({ method, path, headers, body: 'json' in fields.http ? json(fields.http.json, { ignore }) : undefined });
  }
  return json(fields.json, { ignore });
}

function optionsOf(call: string, fields: OptionFields = {}): OnceOptions<unknown> {
  const cancelling = new AbortController();
  callers.set(call, cancelling);
  const codecs: Record<string, Codec<unknown> | undefined> = { bytes: bytesCodec, protobuf: wrappedCodec, text: textCodec };
  return {
    waitMs: fields.wait_ms,
    leaseMs: fields.lease_ms,
    retentionMs: fields.retention_ms,
    timeoutMs: fields.timeout_ms,
    firstSent: fields.first_sent_ms === undefined ? undefined : new Date(fields.first_sent_ms),
    retry: fields.retry,
    labels: fields.labels,
    whenUnavailable: fields.when_unavailable,
    onUnexpected: fields.on_unexpected,
    codec: codecs[fields.codec ?? 'json'],
    signal: cancelling.signal,
  };
}

/** Has a call go on beside what follows; its result is an event. */
function beside(call: string, calling: () => Promise<unknown>): void {
  void resultEvent(calling).then((result) => {
    callers.delete(call);
    say({ event: 'result', call, ...result });
  });
}

function itemOf({ outcome }: BatchBeginResponse_Item, name: string, attemptId: string): Record<string, unknown> {
  if (outcome.case !== 'response') {
    return { error: outcome.value?.reason };
  }
  const { decision } = outcome.value;
  if (decision.case === 'started') {
    batched.set(name, { attemptId, fence: decision.value.fence });
  }
  const words = { started: 'started', replayed: 'replayed', inProgress: 'in_progress', unresolved: 'unresolved' };
  return { decision: decision.case === undefined ? undefined : words[decision.case], attempt: decision.value?.attempt };
}

async function renew(command: Command): Promise<unknown> {
  const { tenant, endpoint, key, fence, attemptId } = Handoff.parse(command.handoff).parts;
  await clientOf(command).renew({
    key: { tenant, endpoint, idempotencyKey: key },
    fence: BigInt(fence),
    attemptId,
    lease: command.lease_ms === undefined ? undefined : durationFromMs(command.lease_ms),
  });
  return {};
}

async function batchBegin(command: Command): Promise<unknown> {
  const { endpoint, keys } = command;
  const requests = keys.map((key) =>
    create(BeginRequestSchema, { key: { endpoint, idempotencyKey: key }, attemptId: crypto.randomUUID() }),
  );
  const answer = await clientOf(command).batchBegin(create(BatchBeginRequestSchema, { requests }));
  return { items: answer.items.map((item, at) => itemOf(item, `${endpoint} ${keys[at] ?? ''}`, requests[at]?.attemptId ?? '')) };
}

async function batchComplete(command: Command): Promise<unknown> {
  const { endpoint, values } = command;
  const requests = values.map(({ key, value }) => ({
    key: { endpoint, idempotencyKey: key },
    ...batched.get(`${endpoint} ${key}`),
    result: { outcome: ResultOutcome.SUCCESS, contentType: 'application/json', payload: Buffer.from(JSON.stringify(value)) },
  }));
  const answer = await clientOf(command).batchComplete({ requests });
  return {
    items: answer.items.map(({ outcome }) =>
      outcome.case === 'response' ? { repeated: outcome.value.repeatedCall } : { error: outcome.value?.reason },
    ),
  };
}

async function carryOut(command: Command): Promise<void> {
  const fields = FIELDS[command.do];
  const unknown = Object.keys(command).filter((name) => name !== 'do' && fields?.includes(name) !== true);
  if (fields === undefined || unknown.length > 0) {
    throw new Error(`an unknown command or field: ${command.do} ${unknown.join()}`);
  }
  const { call, client: name } = command;
  switch (command.do) {
    case 'open':
      clients.set(name, open(command));
      say({ event: 'opened', client: name });
      break;
    case 'close':
      await clientOf(command).close();
      say({ event: 'closed', client: name });
      break;
    case 'once': {
      const client = clientOf(command);
      const options = optionsOf(call, command.options);
      const work = workOf({ client, call, hex: command.options?.codec === 'bytes', say }, command.work);
      beside(call, () => client.once(command.endpoint, command.key, requestOf(command.request), work, options));
      break;
    }
    case 'resume': {
      const client = clientOf(command);
      const options = optionsOf(call, command.options);
      const work = workOf({ client, call, hex: command.options?.codec === 'bytes', say }, command.work);
      beside(call, () => client.resume(command.handoff, work, options));
      break;
    }
    case 'complete_handoff':
      beside(call, () => clientOf(command).completeHandoff(command.handoff, command.value));
      break;
    case 'renew':
      beside(call, () => renew(command));
      break;
    case 'batch_begin':
      beside(call, () => batchBegin(command));
      break;
    case 'batch_complete':
      beside(call, () => batchComplete(command));
      break;
    case 'cancel':
      callers.get(call)?.abort();
      break;
    case 'gate':
      openGate(command.gate);
      break;
    case 'recorded':
      say({ event: 'recorded', client: name, calls: fakes.get(name)?.calls() });
      break;
  }
}

const handOver = observed();
for await (const line of createInterface({ input: process.stdin })) {
  await carryOut(JSON.parse(line) as Command);
}
await Promise.all([...clients.values()].map((client) => client.close()));
await handOver();
