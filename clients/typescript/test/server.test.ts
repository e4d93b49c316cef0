import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';

import { Server, ServerCredentials } from '@grpc/grpc-js';

import { AbortRequest_Disposition as Disposition, Result_Outcome as ResultOutcome, State } from '../src/gen/semel/v1/semel_pb.js';
import { Client, NotAllowedError } from '../src/index.js';
import { TestServer } from '../src/testing/index.js';
import { usual } from './support.js';

test('a real server: what ran once is replayed, and every plain method is answered', async () => {
  await using server = await TestServer.start();
  await using client = new Client({ address: server.address });
  let runs = 0;
  for (const replayed of [false, true]) {
    const outcome = await client.once('payments/Charge', 'order-42', { amount: 1 }, () => ({ run: ++runs }));
    assert.deepEqual([outcome.value, outcome.replayed], [{ run: 1 }, replayed]);
    assert.equal(outcome.completedAt instanceof Date, replayed);
  }
  const key = { endpoint: 'payments/Charge', idempotencyKey: 'plain' };
  const attemptId = crypto.randomUUID();
  const { decision } = await client.begin({ key, attemptId });
  assert.ok(decision.case === 'started');
  const owner = { key, attemptId, fence: decision.value.fence };
  await client.renew(owner);
  await client.saveCheckpoint({ ...owner, name: 'n', value: Buffer.from('v') });
  await client.complete({ ...owner, result: { outcome: ResultOutcome.SUCCESS, payload: Buffer.from('1') } });
  assert.equal((await client.lookup({ key })).record?.state, State.COMPLETED);
  await client.forgetRecord({ key, fence: owner.fence });
  await assert.rejects(client.lookup({ key }), { kind: 'NotFound' });
  const batch = await client.batchBegin({ requests: [{ key, attemptId: crypto.randomUUID() }] });
  assert.equal(batch.items[0]?.outcome.case, 'response');
  assert.equal((await client.getPolicy({ endpoint: 'e' })).source, 'defaults');
  assert.ok((await client.listRecords({})).records.length > 0);
  await assert.rejects(client.resolveRecord({ key, fence: owner.fence, resolution: { case: 'release', value: true } }), {
    kind: 'LeaseLost',
  });
  await assert.rejects(client.abort({ ...owner, disposition: Disposition.RELEASE }), { kind: 'LeaseLost' });
  await assert.rejects(client.batchComplete({ requests: Array.from({ length: 1_001 }, () => ({})) }), { reason: 'BATCH_TOO_LARGE' });
});

test('TLS both ways, and a bearer token', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'semel-tls-'));
  const file = (name: string) => join(directory, name);
  const openssl = (...given: string[]) => execFileSync('openssl', given, { cwd: directory, stdio: 'pipe' });
  const pair = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];
  openssl('req', '-x509', ...pair, '-keyout', 'ca.key', '-out', 'ca.pem', '-subj', '/CN=ca', '-days', '1');
  for (const name of ['server', 'client']) {
    openssl('req', ...pair, '-keyout', `${name}.key`, '-out', `${name}.csr`, '-subj', `/CN=${name}`);
    writeFileSync(file('ext'), 'subjectAltName=DNS:localhost,IP:127.0.0.1\n');
    openssl(
      'x509',
      '-req',
      '-in',
      `${name}.csr`,
      '-CA',
      'ca.pem',
      '-CAkey',
      'ca.key',
      '-CAcreateserial',
      '-out',
      `${name}.pem`,
      '-days',
      '1',
      '-extfile',
      'ext',
    );
  }
  const shown: unknown[] = [];
  const server = new Server();
  const bytes = (value: Uint8Array) => Buffer.from(value);
  const unary = (method: string) => ({
    path: `/semel.v1.IdempotencyService/${method}`,
    requestStream: false as const,
    responseStream: false as const,
    requestSerialize: bytes,
    requestDeserialize: (value: Buffer): Uint8Array => value,
    responseSerialize: bytes,
    responseDeserialize: (value: Buffer): Uint8Array => value,
  });
  server.addService(
    { begin: unary('Begin'), complete: unary('Complete') },
    {
      begin: (call: { metadata: { get: (name: string) => unknown[] } }, answer: (error: null, value: Uint8Array) => void) => {
        shown.push(...call.metadata.get('authorization'));
        answer(null, usual('Begin'));
      },
      complete: (_call: unknown, answer: (error: null, value: Uint8Array) => void) => {
        answer(null, usual('Complete'));
      },
    },
  );
  const credentials = ServerCredentials.createSsl(
    readFileSync(file('ca.pem')),
    [{ cert_chain: readFileSync(file('server.pem')), private_key: readFileSync(file('server.key')) }],
    true,
  );
  const port = await new Promise<number>((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', credentials, (error, bound) => {
      if (error === null) {
        resolve(bound);
      } else {
        reject(error);
      }
    });
  });
  const address = `https://localhost:${String(port)}`;
  try {
    await using client = new Client({
      address,
      tlsCa: file('ca.pem'),
      tlsCert: file('client.pem'),
      tlsKey: file('client.key'),
      token: 'secret-token',
    });
    assert.equal((await client.once('e', 'k', undefined, () => 1)).value, 1);
    assert.deepEqual(shown, ['Bearer secret-token']);
    for (const options of [{ tlsCa: file('ca.pem') }, {}]) {
      await using stranger = new Client({ address, ...options, timeoutMs: 200 });
      await assert.rejects(
        stranger.once('e', 'k', undefined, () => 1),
        { kind: 'StoreUnavailable' },
      );
    }
    assert.equal(shown.length, 1);
  } finally {
    server.forceShutdown();
    rmSync(directory, { recursive: true });
  }
});

test('a server that is not there is named', async () => {
  await assert.rejects(TestServer.start({ program: '/no/such/semel' }), /SEMEL_BIN/);
  assert.equal(new NotAllowedError('x').kind, 'NotAllowed');
});
