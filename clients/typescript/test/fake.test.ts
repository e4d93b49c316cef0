import assert from 'node:assert/strict';
import { test } from 'node:test';

import {
  InProgressError,
  KeyMismatchError,
  LeaseLostError,
  OperationFailedError,
  ResultNotStoredError,
  UnresolvedError,
} from '../src/index.js';
import { FakeClient } from '../src/testing/index.js';

test('a fake follows its script, and stays at the end of it', async () => {
  const fake = new FakeClient({ logger: { warn: () => undefined } });
  fake.script('e', 'k', { inProgress: { retryAfterMs: 7, attempt: 3 } }, { unresolved: { detail: 'said' } }, { replayed: { json: [1] } });
  await assert.rejects(
    fake.once('e', 'k', 1, () => 1),
    (error) => error instanceof InProgressError && error.retryAfterMs === 7 && error.attempt === 3,
  );
  await assert.rejects(
    fake.once('e', 'k', 1, () => 1),
    (error) => error instanceof UnresolvedError && error.detail === 'said',
  );
  for (let times = 0; times < 2; times += 1) {
    assert.deepEqual((await fake.once('e', 'k', 1, () => [2])).value, [1]);
  }
  fake.script('e', 'f', { replayed: { failure: { type: 'Declined', message: 'm', code: 402 } } });
  await assert.rejects(
    fake.once('e', 'f', 1, () => 1),
    (error) => error instanceof OperationFailedError && error.failure.code === 402,
  );
  fake.script('e', 's', { started: { attempt: 2, checkpoints: [{ name: 'n', value: 'v' }] } });
  await fake.once('e', 's', 1, (attempt) => {
    assert.equal(attempt.number, 2);
    assert.deepEqual(
      attempt.checkpoints.map(({ name, value }) => [name, Buffer.from(value).toString()]),
      [['n', 'v']],
    );
  });
  fake.script('e', 'l', { fenceLost: {} });
  await assert.rejects(
    fake.once('e', 'l', 1, () => 1),
    LeaseLostError,
  );
  assert.deepEqual(fake.calls().at(-1), { method: 'Complete', endpoint: 'e', key: 'l' });
  await fake.close();
});

test('nothing is sent for a caller that has gone already', async () => {
  const fake = new FakeClient();
  const gone = new Error('gone');
  await assert.rejects(
    fake.once('e', 'k', undefined, () => 1, { signal: AbortSignal.abort(gone) }),
    gone,
  );
  assert.deepEqual(fake.calls(), []);
  await fake.close();
});

test('a key without a script is kept as a server would', async () => {
  const fake = new FakeClient();
  const outcome = await fake.once('e', 'k', { a: 1 }, async () => {
    await assert.rejects(
      fake.once('e', 'other', { a: 1 }, () => {
        throw new Error('boom');
      }),
      /boom/,
    );
    return 'first';
  });
  assert.equal(outcome.value, 'first');
  assert.equal((await fake.once('e', 'k', { a: 1 }, () => 'second')).value, 'first');
  await assert.rejects(
    fake.once('e', 'k', { a: 2 }, () => 'third'),
    KeyMismatchError,
  );
  assert.equal((await fake.once('e', 'other', { a: 1 }, () => 'again')).attempt, 2);
  await assert.rejects(
    fake.once('e', 'big', undefined, () => 1n),
    ResultNotStoredError,
  );
  assert.equal((await fake.lookup({ key: { endpoint: 'e', idempotencyKey: 'k' } })).record?.attempt, 1);
  await assert.rejects(fake.getPolicy({ endpoint: 'e' }), { kind: 'ServerError', code: 'UNIMPLEMENTED' });
  await fake.close();
});
