// Lifecycles (Begin and Complete) by `once`, beside the bare generated messages on a bare gRPC client: `npm run bench`.
import { randomUUID } from 'node:crypto';
import { promisify } from 'node:util';

import {
  create,
  fromBinary,
  toBinary,
  type DescMessage,
  type DescMethodUnary,
  type MessageInitShape,
  type MessageShape,
} from '@bufbuild/protobuf';
import { Client as GrpcClient, credentials } from '@grpc/grpc-js';

import { IdempotencyService, Result_Outcome as ResultOutcome } from '../src/gen/semel/v1/semel_pb.js';
import { Client } from '../src/index.js';
import { TestServer } from '../src/testing/index.js';

const LIFECYCLES = Number(process.env['SEMEL_BENCH_LIFECYCLES'] ?? 5_000);
const AT_A_TIME = 32;
const { begin, complete } = IdempotencyService.method;

type Call = <I extends DescMessage, O extends DescMessage>(
  method: DescMethodUnary<I, O>,
  request: MessageInitShape<I>,
) => Promise<MessageShape<O>>;

function bareCall(client: GrpcClient): Call {
  return async (method, request) => {
    const send = promisify((body: Uint8Array, done: (error: Error | null, answer?: Uint8Array) => void) => {
      client.makeUnaryRequest(
        `/${method.parent.typeName}/${method.name}`,
        (bytes: Uint8Array) => Buffer.from(bytes),
        (bytes: Buffer): Uint8Array => bytes,
        body,
        { deadline: Date.now() + 3_000 },
        done,
      );
    });
    const answer = await send(toBinary(method.input, create(method.input, request)));
    return fromBinary(method.output, answer ?? new Uint8Array());
  };
}

/** Runs lifecycles, and says how many there were in a second, and what each cost. */
async function measure(name: string, lifecycle: (number: number) => Promise<void>): Promise<void> {
  let next = 0;
  const worker = async () => {
    while (next < LIFECYCLES) {
      await lifecycle(next++);
    }
  };
  const [began, before] = [performance.now(), process.cpuUsage()];
  await Promise.all(Array.from({ length: AT_A_TIME }, worker));
  const [seconds, spent] = [(performance.now() - began) / 1_000, process.cpuUsage(before)];
  const cpu = (spent.user + spent.system) / LIFECYCLES;
  console.log(`${name}: ${(LIFECYCLES / seconds).toFixed(0)} lifecycles/s, ${cpu.toFixed(0)} µs of CPU for each`);
}

await using server = await TestServer.start();
await using client = new Client({ address: server.address, connections: 1 });
const bare = new GrpcClient(new URL(server.address).host, credentials.createInsecure());
const call = bareCall(bare);
const work = { id: 'ch_1', amount: 1250 };

for (const round of ['warm-up', 'measured']) {
  await measure(`${round}, bare stub`, async (number) => {
    const key = { tenant: 'default', endpoint: 'bench/Bare', idempotencyKey: `${round}-${String(number)}` };
    const attemptId = randomUUID();
    const { decision } = await call(begin, { key, attemptId });
    if (decision.case !== 'started') {
      throw new Error(`the key is new, and the answer ${String(decision.case)}`);
    }
    const result = { outcome: ResultOutcome.SUCCESS, contentType: 'application/json', payload: Buffer.from(JSON.stringify(work)) };
    await call(complete, { key, attemptId, fence: decision.value.fence, result });
  });
  await measure(`${round}, once`, async (number) => {
    await client.once('bench/Once', `${round}-${String(number)}`, { amount: 1250 }, () => work);
  });
}
bare.close();
