import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';

import { fromBinary, toBinary } from '@bufbuild/protobuf';
import { StringValueSchema, durationFromMs, durationMs } from '@bufbuild/protobuf/wkt';

import type { BeginRequest, CompleteRequest } from '../src/gen/semel/v1/semel_pb.js';
import {
  Client,
  CompletionUnknownError,
  Handoff,
  InvalidError,
  LeaseLostError,
  StoreUnavailableError,
  bytesCodec,
  keys,
  protobufCodec,
  type Attempt,
  type ClientOptions,
} from '../src/index.js';
import { ScriptedTransport, begun, refusal, status } from './support.js';

const quiet = { warn: () => undefined };
const always = () => undefined;

/** A client of a transport that a test scripts. */
function clientOf(transport: ScriptedTransport, options: ClientOptions = {}): Client {
  return new Client({ transport, logger: quiet, ...options });
}

test('one call is Begin and Complete, and leaves no timer and no listener behind', async () => {
  const transport = new ScriptedTransport(always);
  const client = clientOf(transport);
  const cancelling = new AbortController();
  const timers = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
  const before = timers();
  const outcome = await client.once('payments/Charge', 'order-42', { amount: 1 }, () => ({ id: 'ch_1' }), { signal: cancelling.signal });
  assert.deepEqual(outcome, { value: { id: 'ch_1' }, replayed: false, handedOff: false, protected: true, fence: 7, attempt: 1 });
  assert.deepEqual(transport.methods(), ['Begin', 'Complete']);
  assert.equal(timers(), before);
  assert.equal(getEventListeners(cancelling.signal, 'abort').length, 0);
  await client.close();
  assert.ok(transport.closed);
});

test('what goes into a Begin', async () => {
  const transport = new ScriptedTransport(always);
  await using client = clientOf(transport, { tenant: 'acme' });
  const options = {
    waitMs: 5_000,
    leaseMs: 1_500,
    retentionMs: 60_000,
    firstSent: new Date(1_700_000_000_000),
    retry: true,
    labels: { order: '42' },
  };
  await client.once('e', 'k', undefined, () => 1, options);
  const begin = transport.calls[0]?.request as BeginRequest;
  assert.deepEqual([begin.key?.tenant, begin.key?.endpoint, begin.key?.idempotencyKey], ['acme', 'e', 'k']);
  assert.match(begin.attemptId, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  assert.equal(begin.fingerprint.length, 0);
  assert.equal(begin.lease && durationMs(begin.lease), 1_500);
  assert.equal(begin.retention && durationMs(begin.retention), 60_000);
  assert.equal(begin.firstSent?.seconds, 1_700_000_000n);
  assert.deepEqual([begin.retry, begin.labels], [true, { order: '42' }]);
  assert.ok(begin.wait !== undefined && durationMs(begin.wait) <= 5_000 && durationMs(begin.wait) > 0);
  const [first, second] = transport.calls;
  assert.ok(first !== undefined && first.timeoutMs <= 3_000 + 5_000 && first.timeoutMs > 3_000);
  assert.ok(second !== undefined && second.timeoutMs <= 3_000);
});

test('a Begin that is sent again keeps its attempt id, and each call has another', async () => {
  let fails = 2;
  const transport = new ScriptedTransport(({ method }) => {
    if (method === 'Begin' && fails-- > 0) {
      throw status('UNAVAILABLE');
    }
    return undefined;
  });
  await using client = clientOf(transport);
  await client.once('e', 'k', undefined, () => 1);
  await client.once('e', 'k', undefined, () => 1);
  const ids = transport.calls.filter(({ method }) => method === 'Begin').map(({ request }) => (request as BeginRequest).attemptId);
  assert.equal(ids.length, 4);
  assert.equal(new Set(ids.slice(0, 3)).size, 1);
  assert.notEqual(ids[3], ids[0]);
});

test('fail_open runs only where semel cannot be reached, and says so', async () => {
  const transport = new ScriptedTransport(({ method }) => {
    if (method === 'Begin') {
      throw status('UNAVAILABLE');
    }
    return undefined;
  });
  const said: string[] = [];
  const logger = { warn: (message: string, fields: object) => said.push(`${message} ${JSON.stringify(fields)}`) };
  await using client = clientOf(transport, { timeoutMs: 20, logger });
  const ran: Attempt[] = [];
  const work = (attempt: Attempt) => {
    ran.push(attempt);
    assert.equal(
      refusal(() => attempt.handoff()),
      'UNPROTECTED',
    );
    return 'v';
  };
  await assert.rejects(client.once('e', 'secret-key', undefined, work), StoreUnavailableError);
  assert.equal(ran.length, 0);
  const outcome = await client.once('e', 'secret-key', undefined, work, { whenUnavailable: 'fail_open' });
  assert.deepEqual([outcome.value, outcome.protected, outcome.attempt], ['v', false, 0]);
  assert.equal(said.length, 1);
  assert.ok(!said.join().includes('secret-key'));
  await ran[0]?.checkpoint('n', 'v');
  assert.deepEqual(
    ran[0]?.checkpoints.map(({ name }) => name),
    ['n'],
  );
});

test('StoreUnavailable says whether anything may have happened', async () => {
  for (const [reason, may] of [
    ['STORE_UNAVAILABLE', false],
    ['STORE_OUTCOME_UNKNOWN', true],
    ['', true],
  ] as const) {
    const transport = new ScriptedTransport(() => {
      throw status('UNAVAILABLE', reason);
    });
    await using client = clientOf(transport, { timeoutMs: 20 });
    await assert.rejects(client.lookup({ key: { endpoint: 'e', idempotencyKey: 'k' } }), (error) => {
      assert.ok(error instanceof StoreUnavailableError);
      return error.mayHaveTakenEffect === may;
    });
  }
});

test('nothing is sent after a pause that took all the time that was left', async (context) => {
  const transport = new ScriptedTransport(() => {
    throw status('UNAVAILABLE');
  });
  await using client = clientOf(transport);
  const now = performance.now.bind(performance);
  const soon = setImmediate;
  let late = 0;
  context.mock.method(performance, 'now', () => now() + late);
  context.mock.method(globalThis, 'setTimeout', (then: () => void) => {
    late += 60_000;
    return soon(then);
  });
  await assert.rejects(client.lookup({ key: { endpoint: 'e', idempotencyKey: 'k' } }), StoreUnavailableError);
  assert.equal(late, 60_000);
  assert.deepEqual(transport.methods(), ['Lookup']);
});

test('a lease that is half over is renewed before anything runs', async () => {
  // Granted for a minute, 40 s ago: as if the answer had been that long on its way.
  const late = begun({ case: 'started', value: { fence: 7n, attempt: 1, lease: durationFromMs(60_000), waited: durationFromMs(-40_000) } });
  const over = begun({ case: 'started', value: { fence: 7n, attempt: 1, lease: durationFromMs(60_000), waited: durationFromMs(-59_000) } });
  for (const [answer, renewal, methods] of [
    [late, undefined, ['Begin', 'Renew', 'Complete']],
    [late, 'FENCE_LOST', ['Begin', 'Renew']],
    [over, 'STORE_UNAVAILABLE', ['Begin', 'Renew', 'Abort']],
  ] as const) {
    let ran = false;
    const transport = new ScriptedTransport(({ method }) => {
      if (method === 'Renew' && renewal !== undefined) {
        throw status(renewal === 'FENCE_LOST' ? 'ABORTED' : 'UNAVAILABLE', renewal);
      }
      return method === 'Begin' ? answer : undefined;
    });
    await using client = clientOf(transport);
    const calling = client.once('e', 'k', undefined, () => {
      ran = true;
    });
    await (renewal === undefined ? calling : assert.rejects(calling, LeaseLostError));
    assert.equal(ran, renewal === undefined);
    assert.deepEqual(transport.methods(), methods);
  }
});

test('the signal fires with the caller’s reason, and the end is reported all the same', async () => {
  const transport = new ScriptedTransport(always);
  await using client = clientOf(transport);
  const cancelling = new AbortController();
  const reason = new Error('enough');
  const calling = client.once(
    'e',
    'k',
    undefined,
    ({ signal }) => {
      cancelling.abort(reason);
      assert.equal(signal.reason, reason);
      throw signal.reason;
    },
    { signal: cancelling.signal, onUnexpected: 'release' },
  );
  await assert.rejects(calling, reason);
  assert.deepEqual(transport.methods(), ['Begin', 'Abort']);
  assert.equal((transport.calls[1]?.request as { disposition: number }).disposition, 2);
  await assert.rejects(
    client.once('e', 'k', undefined, () => 1, { signal: cancelling.signal }),
    reason,
  );
  assert.equal(transport.calls.length, 2);
});

test('an error that carries the key or a payload does not show it', async () => {
  const transport = new ScriptedTransport(({ method }) => {
    if (method === 'Complete') {
      throw status('PERMISSION_DENIED', 'TENANT_NOT_ALLOWED');
    }
    return undefined;
  });
  await using client = clientOf(transport);
  const error: unknown = await client.once('e', 'secret-key', undefined, () => 'v').catch((thrown: unknown) => thrown);
  assert.ok(error instanceof CompletionUnknownError);
  assert.equal(error.handoff.parts.key, 'secret-key');
  for (const text of [inspect(error, { depth: 9 }), JSON.stringify(error), String(error), inspect(error.handoff), String(error.handoff)]) {
    assert.ok(!text.includes('secret-key'), text);
  }
  await assert.rejects(client.completeHandoff(error.handoff, 'v'), CompletionUnknownError);
  const sent = transport.calls.filter(({ method }) => method === 'Complete').map(({ request }) => request as CompleteRequest);
  assert.deepEqual(sent[0]?.result, sent[1]?.result);
  assert.equal(sent[1]?.key?.idempotencyKey, 'secret-key');
});

test('codecs: bytes and protobuf go there and back', async () => {
  const stored: Uint8Array[] = [];
  const transport = new ScriptedTransport(({ method, request }) => {
    if (method === 'Complete') {
      const { result } = request as CompleteRequest;
      assert.ok(result);
      stored.push(result.payload);
      assert.ok(
        ['application/octet-stream', 'application/x-protobuf; messageType="google.protobuf.StringValue"'].includes(result.contentType),
      );
    }
    return undefined;
  });
  await using client = clientOf(transport);
  await client.once('e', 'k', undefined, () => Uint8Array.of(1, 2), { codec: bytesCodec });
  const message = { $typeName: 'google.protobuf.StringValue' as const, value: 'ä' };
  await client.once('e', 'k', undefined, () => message, { codec: protobufCodec(StringValueSchema) });
  const [bytes, encoded] = stored;
  assert.ok(bytes && encoded);
  assert.deepEqual([...bytes], [1, 2]);
  assert.deepEqual(toBinary(StringValueSchema, message), encoded);
  assert.equal(fromBinary(StringValueSchema, encoded).value, 'ä');
});

test('options that do not go together are refused', () => {
  const bad: [ClientOptions, string][] = [
    [{ address: 'ftp://x' }, 'ADDRESS'],
    [{ address: 'http://x/path' }, 'ADDRESS'],
    [{ address: 'http://x:7400', token: 't' }, 'ADDRESS'],
    [{ address: 'http://127.0.0.1:7400', tlsCa: '/ca.pem' }, 'ADDRESS'],
    [{ address: 'https://x', tlsCa: '/no/such/file' }, 'TLS'],
    [{ address: 'https://x', tlsCert: '/no/such/file' }, 'TLS'],
    [{ tokenFile: '/no/such/file' }, 'TOKEN_FILE'],
    [{ timeoutMs: 0 }, 'OPTIONS'],
    [{ connections: 1.5 }, 'OPTIONS'],
  ];
  for (const [options, reason] of bad) {
    assert.equal(
      refusal(() => new Client(options)),
      reason,
      JSON.stringify(options),
    );
  }
  assert.equal(
    refusal(() => new Client({ address: 'localhost:7400', token: 't' })),
    '(not refused)',
  );
});

test('a token is read again from its file, and the last one stays while it cannot be read', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'semel-token-'));
  const file = join(directory, 'token');
  writeFileSync(file, 'first\n');
  let refusals = 1;
  const transport = new ScriptedTransport(({ method }) => {
    if (method === 'Complete' && refusals-- > 0) {
      writeFileSync(file, 'second');
      throw status('UNAUTHENTICATED', 'CREDENTIAL_INVALID');
    }
    return undefined;
  });
  await using client = clientOf(transport, { tokenFile: file });
  await client.once('e', 'k', undefined, () => 1);
  rmSync(directory, { recursive: true });
  await client.once('e', 'k', undefined, () => 1);
  assert.deepEqual(
    transport.calls.map(({ headers }) => headers['authorization']),
    ['first', 'first', 'second', 'second', 'second'].map((token) => `Bearer ${token}`),
  );
});

test('plain methods fill the tenant, leave the request as it was, and give the fields that are wrong', async () => {
  const transport = new ScriptedTransport(({ method }) => {
    if (method === 'GetPolicy') {
      throw status('INVALID_ARGUMENT', 'INVALID_KEY', undefined, 'endpoint');
    }
    return undefined;
  });
  await using client = clientOf(transport, { tenant: 'acme' });
  const request = { key: { endpoint: 'e', idempotencyKey: 'k' } };
  await client.lookup(request);
  await client.forgetRecord({ key: { tenant: 'other', endpoint: 'e', idempotencyKey: 'k' }, fence: 1n });
  await client.batchBegin({ requests: [request] });
  await client.listRecords({ endpoint: 'e' });
  assert.deepEqual(request, { key: { endpoint: 'e', idempotencyKey: 'k' } });
  const [lookup, forget, batch, list] = transport.calls.map(({ request: sent }) => sent as never);
  const tenantOf = (sent: { key?: { tenant: string } } | undefined) => sent?.key?.tenant;
  assert.deepEqual(
    [
      tenantOf(lookup),
      tenantOf(forget),
      tenantOf((batch as unknown as { requests: { key: { tenant: string } }[] }).requests[0]),
      (list as unknown as { tenant: string }).tenant,
    ],
    ['acme', 'other', 'acme', 'acme'],
  );
  await assert.rejects(client.getPolicy({ endpoint: '' }), (error) => {
    assert.ok(error instanceof InvalidError);
    return error.fields[0]?.field === 'endpoint';
  });
});

test('close waits for what is given back, and nothing is sent afterwards', async () => {
  const cancelling = new AbortController();
  const transport = new ScriptedTransport(({ method }, signal) => {
    if (method !== 'Begin' || transport.calls.length > 1) {
      return method === 'Lookup' ? Uint8Array.of(0x0a, 0x02, 0x10, 0x01) : undefined; // a record that is in progress
    }
    return new Promise((_resolve, reject) => {
      signal?.addEventListener('abort', () => {
        reject(status('CANCELLED'));
      });
      cancelling.abort();
    });
  });
  const client = clientOf(transport);
  await assert.rejects(
    client.once('e', 'k', undefined, () => 1, { signal: cancelling.signal }),
    { name: 'AbortError' },
  );
  await client.close();
  assert.deepEqual(transport.methods(), ['Begin', 'Lookup', 'Begin', 'Abort']);
  await assert.rejects(
    client.once('e', 'k', undefined, () => 1),
    { reason: 'CLIENT_CLOSED' },
  );
  await assert.rejects(client.lookup({}), { reason: 'CLIENT_CLOSED' });
  assert.equal(transport.calls.length, 4);
});

test('fresh keys are UUIDs of their version', () => {
  assert.equal(keys.uuid(keys.uuid4())[14], '4');
  const [first, second] = [keys.uuid7(), keys.uuid7()];
  assert.equal(keys.uuid(first)[14], '7');
  assert.ok(first.slice(0, 13) <= second.slice(0, 13));
});

test('a handoff is read wherever it comes from', () => {
  const parts = { tenant: 't', endpoint: 'e', key: 'k', fence: 3, attempt: 2, attemptId: keys.uuid4(), leaseMs: 1_000 };
  assert.deepEqual(Handoff.parse(new Handoff(parts).serialize()).parts, parts);
});
