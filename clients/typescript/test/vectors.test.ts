import assert from 'node:assert/strict';
import { test } from 'node:test';

import { create } from '@bufbuild/protobuf';

import { canonicalJson } from '../src/canonical.js';
import { decoded, jsonCodec } from '../src/codec.js';
import {
  AbortRequest_Disposition as Disposition,
  Result_Outcome as ResultOutcome,
  ResultSchema,
  Unresolved_Reason as UnresolvedReason,
  type AbortRequest,
  type CompleteRequest,
  ItemErrorSchema,
} from '../src/gen/semel/v1/semel_pb.js';
import {
  Client,
  InvalidError,
  itemError,
  Final,
  Handoff,
  OperationFailedError,
  Retryable,
  SemelError,
  StoreUnavailableError,
  UndecodableResultError,
  Unknown,
  checkKey,
  http,
  json,
  jsonText,
  keyWarnings,
  keys,
  raw,
  type Carried,
  type Code,
  type Failure,
  type OnUnexpected,
  type Request,
} from '../src/index.js';
import { derivedKey } from '../src/keys.js';
import { goesOn, pauses, type Purpose } from '../src/sending.js';
import { durationMs } from '@bufbuild/protobuf/wkt';
import { ScriptedTransport, begun, count, refusal, status, vectors } from './support.js';

interface Named {
  name: string;
  refused?: string;
}

/** Plays each case of a file, and counts them. */
// eslint-disable-next-line @typescript-eslint/no-unnecessary-type-parameters -- it types the cases for `play`, and them alone
function each<Case extends Named>(file: string, play: (one: Case) => void | Promise<void>): void {
  test(file, async (context) => {
    const cases = vectors<Case>(file);
    assert.equal(new Set(cases.map(({ name }) => name)).size, cases.length);
    for (const one of cases) {
      await context.test(one.name, () => play(one));
    }
    count('client_vectors', cases.length);
  });
}

interface RequestCase extends Named {
  json?: string;
  json_hex?: string;
  raw_hex?: string;
  ignore?: string[];
}

function bodyOf(one: RequestCase): Request | undefined {
  const options = { ignore: one.ignore ?? [] };
  if (one.json !== undefined) {
    return jsonText(one.json, options);
  }
  if (one.json_hex !== undefined) {
    return jsonText(Buffer.from(one.json_hex, 'hex'), options);
  }
  return one.raw_hex === undefined ? undefined : raw(Buffer.from(one.raw_hex, 'hex'));
}

interface FingerprintCase extends RequestCase {
  method?: string;
  path?: string;
  headers?: [string, string][];
  canonical?: string;
  digest?: string;
}

each<FingerprintCase>('fingerprints.json', (one) => {
  const { method = '', path = '', headers = [] } = one;
  // Pointers that go with no JSON are those of `http`: the other makers take none.
  const ignore = one.json === undefined && one.json_hex === undefined ? (one.ignore ?? []) : [];
  const make = () => http({ method, path, headers, body: bodyOf(one), ignore });
  if (one.refused !== undefined) {
    assert.equal(
      refusal(() => make().fingerprint()),
      one.refused,
    );
    return;
  }
  const request = make();
  assert.equal(Buffer.from(request.fingerprint()).toString('hex'), one.digest);
  if (one.canonical !== undefined && one.json !== undefined) {
    assert.equal(canonicalJson(one.json, one.ignore ?? []), one.canonical);
    assert.equal(canonicalJson(Buffer.from(one.json), one.ignore ?? []), one.canonical);
  }
  if (method === '' && path === '' && headers.length === 0) {
    const alone = bodyOf(one);
    if (alone !== undefined) {
      assert.equal(Buffer.from(alone.fingerprint()).toString('hex'), one.digest);
    }
  }
});

each<Named & { tenant: string; endpoint: string; key: string; step: string; derived?: string }>('derived_keys.json', (one) => {
  const derive = () => derivedKey(one.tenant, one.endpoint, one.key, one.step);
  if (one.refused === undefined) {
    assert.equal(derive(), one.derived);
  } else {
    assert.equal(refusal(derive), one.refused);
  }
});

each<Named & { source: string; type: string; id: string; key?: string }>('event_keys.json', (one) => {
  const make = () => keys.event(one.source, one.type, one.id);
  if (one.refused === undefined) {
    assert.equal(make(), one.key);
  } else {
    assert.equal(refusal(make), one.refused);
  }
});

each<RequestCase & { window_seconds: number; at_seconds: number; key?: string }>('content_keys.json', (one) => {
  const make = () => keys.content(bodyOf(one), one.window_seconds, new Date(one.at_seconds * 1000));
  if (one.refused === undefined) {
    assert.equal(make(), one.key);
  } else {
    assert.equal(refusal(make), one.refused);
  }
});

each<Named & { maker: string; text: string; kind: string; parts: string[]; key?: string; warnings: string[] }>('key_checks.json', (one) => {
  const makers: Record<string, () => string> = {
    of: () => keys.of(one.text),
    uuid: () => keys.uuid(one.text),
    business: () => keys.business(one.kind, ...one.parts),
  };
  const make = makers[one.maker];
  assert.ok(make);
  if (one.refused !== undefined) {
    assert.equal(refusal(make), one.refused);
    return;
  }
  const key = make();
  assert.equal(key, one.key);
  checkKey(key);
  assert.deepEqual(keyWarnings(key), one.warnings);
});

interface HandoffCase extends Named {
  text: string;
  parts?: { tenant: string; endpoint: string; key: string; fence: number; attempt: number; attempt_id: string; lease_ms: number };
}

each<HandoffCase>('handoffs.json', (one) => {
  if (one.refused !== undefined) {
    assert.equal(
      refusal(() => Handoff.parse(one.text)),
      one.refused,
    );
  }
  if (one.parts !== undefined) {
    const { attempt_id: attemptId, lease_ms: leaseMs, ...rest } = one.parts;
    const parts = { ...rest, attemptId, leaseMs };
    assert.equal(new Handoff(parts).serialize(), one.text);
    assert.deepEqual(Handoff.parse(one.text).parts, parts);
  }
});

each<Named & { content_type: string; code: number; payload_hex: string; failure: Failure | null }>('failure_payloads.json', (one) => {
  const result = create(ResultSchema, {
    outcome: ResultOutcome.FAILURE,
    code: one.code,
    contentType: one.content_type,
    payload: Buffer.from(one.payload_hex, 'hex'),
  });
  assert.throws(
    () => decoded(jsonCodec(), result),
    (error) => {
      if (one.failure === null) {
        return error instanceof UndecodableResultError && error.result === result;
      }
      assert.ok(error instanceof OperationFailedError);
      assert.deepEqual(error.failure, one.failure);
      return error.replayed && error.result === result;
    },
  );
});

interface RetryCase extends Named {
  of: Purpose;
  call: string;
  code: Code;
  reason: string | null;
  retry_info_ms: number | null;
  sends: number;
  left_ms: number;
  again: boolean;
  pause_ms?: [number, number];
}

each<RetryCase>('retries.json', (one) => {
  const answer = { code: one.code, reason: one.reason ?? '', message: '', pauseMs: one.retry_info_ms ?? undefined };
  const [shortest, longest] = pauses(answer, one.sends);
  assert.equal(goesOn(one.of, answer) && shortest < one.left_ms, one.again);
  if (one.pause_ms !== undefined) {
    assert.deepEqual([shortest, longest], one.pause_ms);
  }
});

interface ErrorCase extends Named {
  in: 'plain' | 'once';
  call: string;
  code?: string;
  reason?: string | null;
  retry_info_ms?: number;
  decision?: string;
  unresolved_reason?: string;
  error: string;
  carries_value?: boolean;
}

const DECISIONS: Record<string, (one: ErrorCase) => Uint8Array> = {
  in_progress: () => begun({ case: 'inProgress', value: { attempt: 1 } }),
  unresolved: (one) => {
    const name = (one.unresolved_reason ?? '').replace('REASON_', '') as keyof typeof UnresolvedReason;
    return begun({ case: 'unresolved', value: { reason: UnresolvedReason[name] } });
  },
  none: () => begun(undefined),
};

each<ErrorCase>('errors.json', async (one) => {
  const transport = new ScriptedTransport(({ method, request }) => {
    if (method !== one.call || (request as CompleteRequest).result?.payloadOmitted === true) {
      return undefined;
    }
    if (one.code === undefined) {
      return DECISIONS[one.decision ?? '']?.(one);
    }
    throw status(one.code, one.reason ?? '', one.retry_info_ms);
  });
  const logger = { warn: () => undefined };
  await using client = new Client({ transport, timeoutMs: 20, reportTimeoutMs: 20, logger });
  const plain = client as unknown as Record<string, (request: object) => Promise<unknown>>;
  const name = one.call.charAt(0).toLowerCase() + one.call.slice(1);
  const call = one.in === 'plain' ? plain[name]?.call(client, {}) : client.once('e', 'k', { a: 1 }, () => 'value');
  await assert.rejects(call ?? Promise.resolve(), (error) => {
    assert.ok(error instanceof SemelError);
    assert.equal(error.kind, one.error);
    assert.equal(error.name, error.kind.replace(/(Error)?$/, 'Error'));
    if (one.code !== undefined && one.error !== 'ResultNotStored') {
      assert.equal(error.code, one.code);
    }
    if (one.in === 'plain') {
      assert.equal(error.reason, one.reason ?? '');
      assert.equal(error.retryAfterMs, one.retry_info_ms);
    }
    if (one.carries_value !== undefined) {
      const { carried } = error as SemelError & { carried?: Carried };
      assert.deepEqual(carried, one.carries_value ? { value: 'value' } : undefined);
    }
    return true;
  });
});

interface FailureCase extends Named {
  on_unexpected: OnUnexpected;
  ended: {
    returns?: unknown;
    returns_unencodable?: true;
    final?: { type: string; message?: string; code?: number; details?: unknown };
    retryable?: { message: string; retry_after_ms?: number };
    unknown?: { message: string };
    timeout?: true;
    cancelled?: true;
    unexpected?: string;
  };
  report: {
    method: string;
    outcome?: string;
    content_type?: string;
    code?: number;
    failure?: Failure;
    payload_omitted?: boolean;
    disposition?: string;
    retry_after_ms?: number;
  };
  error: string | null;
}

function endOf({ ended }: FailureCase): unknown {
  if ('returns' in ended) {
    return ended.returns;
  }
  if (ended.returns_unencodable === true) {
    return 1n;
  }
  if (ended.final !== undefined) {
    const { type, message, ...options } = ended.final;
    throw new Final(type, message, options);
  }
  if (ended.retryable !== undefined) {
    const { message, retry_after_ms: retryAfterMs } = ended.retryable;
    throw new Retryable(message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
  if (ended.unknown !== undefined) {
    throw new Unknown(ended.unknown.message);
  }
  if (ended.timeout === true) {
    throw new DOMException('late', 'TimeoutError');
  }
  if (ended.cancelled === true) {
    throw new DOMException('gone', 'AbortError');
  }
  throw new Error(ended.unexpected);
}

each<FailureCase>('failures.json', async (one) => {
  const transport = new ScriptedTransport(() => undefined);
  await using client = new Client({ transport, onUnexpected: one.on_unexpected });
  const outcome = await client.once('e', 'k', undefined, () => endOf(one)).catch((error: unknown) => error);
  const kind = outcome instanceof SemelError ? outcome.kind : outcome instanceof Error ? 'own' : null;
  assert.equal(kind, one.error);
  const { report } = one;
  const [, sent, ...more] = transport.calls;
  assert.deepEqual([sent?.method, more.length], [report.method, 0]);
  if (report.method === 'Abort') {
    const { disposition, retryAfter } = sent?.request as AbortRequest;
    assert.equal(`DISPOSITION_${Disposition[disposition]}`, report.disposition);
    assert.equal(retryAfter === undefined ? undefined : durationMs(retryAfter), report.retry_after_ms);
    return;
  }
  const { result } = sent?.request as CompleteRequest;
  assert.ok(result);
  assert.equal(`OUTCOME_${ResultOutcome[result.outcome]}`, report.outcome);
  assert.equal(result.payloadOmitted, report.payload_omitted ?? false);
  assert.equal(result.code, report.code ?? 0);
  if (report.content_type !== undefined) {
    assert.equal(result.contentType, report.content_type);
  }
  if (report.failure !== undefined) {
    assert.deepEqual(JSON.parse(Buffer.from(result.payload).toString()), report.failure);
  }
});

test('a value goes the way of its text', () => {
  const value = { b: [1, 2.5, -0], a: { text: 'ä😀' } };
  assert.deepEqual(json(value).fingerprint(), jsonText('{"a":{"text":"ä😀"},"b":[1,2.5,0]}').fingerprint());
  for (const [bad, reason] of [
    [Number.NaN, 'not_finite'],
    [{ deep: [Number.POSITIVE_INFINITY] }, 'not_finite'],
    [2 ** 53, 'integer_too_large'],
    [1n, 'not_json'],
    [() => 1, 'not_json'],
    ['\ud800', 'lone_surrogate'],
  ] as const) {
    assert.equal(
      refusal(() => json(bad).fingerprint()),
      reason,
    );
  }
});

interface OptionsCase extends Named {
  options: {
    address?: string;
    token?: string;
    token_file?: string;
    insecure_token?: boolean;
    tls_ca?: string;
    tls_cert?: string;
    tls_key?: string;
    timeout_ms?: number;
    try_timeout_ms?: number;
    report_timeout_ms?: number;
    connections?: number;
  };
}

each<OptionsCase>('client_options.json', async (one) => {
  const { options: given } = one;
  const made = () =>
    new Client({
      address: given.address,
      token: given.token,
      tokenFile: given.token_file,
      insecureToken: given.insecure_token,
      tlsCa: given.tls_ca,
      tlsCert: given.tls_cert,
      tlsKey: given.tls_key,
      timeoutMs: given.timeout_ms,
      tryTimeoutMs: given.try_timeout_ms,
      reportTimeoutMs: given.report_timeout_ms,
      connections: given.connections,
    });
  if (one.refused === undefined) {
    await made().close();
    return;
  }
  assert.throws(made, (error) => {
    assert.ok(error instanceof InvalidError);
    assert.equal(error.reason, one.refused);
    return !error.message.includes('secret-');
  });
});

interface ItemErrorCase extends Named {
  code: number;
  reason: string;
  error: string;
  may_have_taken_effect?: boolean;
}

each<ItemErrorCase>('item_errors.json', (one) => {
  const error = itemError(create(ItemErrorSchema, { code: one.code, reason: one.reason, message: 'of a vector' }));
  assert.deepEqual([error.kind, error.reason], [one.error, one.reason]);
  assert.equal(error instanceof StoreUnavailableError ? error.mayHaveTakenEffect : undefined, one.may_have_taken_effect);
});
