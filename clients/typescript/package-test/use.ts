// A user's program, in a project of its own.
import { Client, InProgressError, VERSION, json, keys, type Attempt } from '@semel/client';
import { State } from '@semel/client/proto';
import config from '@semel/client/service_config.json' with { type: 'json' };
import { FakeClient, TestServer } from '@semel/client/testing';

interface Receipt {
  readonly id: string;
}

const server = await TestServer.start();
const client = new Client({ address: server.address });
const key = keys.business('order', '42');
let runs = 0;
const charge = (attempt: Attempt): Receipt => ({ id: `ch_${String((runs += 1))}_${String(attempt.derivedKey('capture').length)}` });
const first = await client.once('payments/Charge', key, json({ amount: 1250 }), charge);
const second = await client.once('payments/Charge', key, { amount: 1250 }, charge);
const { record } = await client.lookup({ key: { endpoint: 'payments/Charge', idempotencyKey: key } });
await client.close();
await server.stop();

const fake = new FakeClient().script('payments/Charge', key, { inProgress: {} });
const running = await fake.once('payments/Charge', key, undefined, charge).catch((error: unknown) => error);
await fake.close();

const isRight =
  first.value.id === 'ch_1_36' &&
  second.value.id === first.value.id &&
  !first.replayed &&
  second.replayed &&
  record?.state === State.COMPLETED &&
  running instanceof InProgressError &&
  config.methodConfig.length === 2;
if (!isRight) {
  throw new Error('the package does not do what its README says');
}
console.log(`${VERSION}: ran once, replayed once`);
