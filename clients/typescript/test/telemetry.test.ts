import assert from 'node:assert/strict';
import { test } from 'node:test';

import { SpanKind, metrics, trace } from '@opentelemetry/api';
import { AggregationTemporality, InMemoryMetricExporter, MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics';
import { InMemorySpanExporter, NodeTracerProvider, SimpleSpanProcessor } from '@opentelemetry/sdk-trace-node';

import { Client } from '../src/index.js';
import { ScriptedTransport, begun, status } from './support.js';

const spans = new InMemorySpanExporter();
new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(spans)] }).register();
const points = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE);
const reader = new PeriodicExportingMetricReader({ exporter: points, exportIntervalMillis: 2 ** 30 });
metrics.setGlobalMeterProvider(new MeterProvider({ readers: [reader] }));

test('spans and metrics, their names and attributes, and the trace that goes along', async () => {
  const original = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01';
  let begins = 0;
  const transport = new ScriptedTransport(({ method }) => {
    if (method !== 'Begin') {
      return undefined;
    }
    begins += 1;
    if (begins === 1) {
      throw status('UNAVAILABLE');
    }
    const result = { outcome: 1, contentType: 'application/json', payload: Buffer.from('1') };
    return begins === 3 ? begun({ case: 'replayed', value: { fence: 7n, attempt: 1, originalTraceparent: original, result } }) : undefined;
  });
  await using client = new Client({ transport, tenant: 'acme', logger: { warn: () => undefined } });
  let inner: string | undefined;
  await client.once('payments/Charge', 'mail@example.org', undefined, () => {
    inner = trace.getActiveSpan()?.spanContext().spanId;
    return 1;
  });
  await client.once('payments/Charge', 'k', undefined, () => 1);

  const [begin, complete, once, , replay] = spans.getFinishedSpans();
  assert.ok(begin && complete && once && replay);
  assert.deepEqual(
    spans.getFinishedSpans().map(({ name }) => name),
    [
      'semel.v1.IdempotencyService/Begin',
      'semel.v1.IdempotencyService/Complete',
      'semel.once',
      'semel.v1.IdempotencyService/Begin',
      'semel.once',
    ],
  );
  assert.deepEqual([begin.kind, once.kind], [SpanKind.CLIENT, SpanKind.INTERNAL]);
  assert.deepEqual(begin.attributes, {
    'rpc.system.name': 'grpc',
    'rpc.method': 'semel.v1.IdempotencyService/Begin',
    'rpc.response.status_code': 'OK',
    'semel.client.sends': 2,
  });
  assert.deepEqual(once.attributes, {
    'semel.tenant': 'acme',
    'semel.endpoint': 'payments/Charge',
    'semel.decision': 'started',
    'semel.outcome': 'completed',
    'semel.attempt': 1,
    'semel.fence': 7,
  });
  assert.equal(inner, once.spanContext().spanId);
  for (const call of [begin, complete]) {
    assert.equal(call.parentSpanContext?.spanId, once.spanContext().spanId);
  }
  const { traceId, spanId } = begin.spanContext();
  assert.equal(transport.calls[0]?.headers['traceparent'], `00-${traceId}-${spanId}-01`);
  assert.equal(replay.attributes['semel.decision'], 'replayed');
  assert.deepEqual(
    replay.links.map(({ context, attributes }) => [context.traceId, context.spanId, attributes]),
    [['0af7651916cd43dd8448eb211c80319c', 'b7ad6b7169203331', { 'semel.link': 'earlier_attempt' }]],
  );

  await reader.forceFlush();
  const found = points
    .getMetrics()
    .at(-1)
    ?.scopeMetrics.find(({ scope }) => scope.name === 'semel.client');
  const values = Object.fromEntries(
    (found?.metrics ?? []).map(({ descriptor, dataPoints }) => [
      descriptor.name,
      dataPoints.map(({ value, attributes }) => [typeof value === 'number' ? value : value.count, attributes]),
    ]),
  );
  const endpoint = { 'semel.endpoint': 'payments/Charge' };
  assert.deepEqual(values, {
    'semel.client.once': [
      [1, { ...endpoint, 'semel.decision': 'started', 'semel.outcome': 'completed' }],
      [1, { ...endpoint, 'semel.decision': 'replayed' }],
    ],
    'semel.client.once.duration': [
      [1, { ...endpoint, 'semel.decision': 'started', 'semel.outcome': 'completed' }],
      [1, { ...endpoint, 'semel.decision': 'replayed' }],
    ],
    'semel.client.retries': [[1, { 'rpc.method': 'semel.v1.IdempotencyService/Begin', 'rpc.response.status_code': 'OK' }]],
    'semel.client.key_warnings': [[1, { ...endpoint, 'semel.warning': 'mail_address' }]],
  });
  assert.ok(!JSON.stringify(spans.getFinishedSpans().map(({ attributes }) => attributes)).includes('mail@example.org'));
  await reader.shutdown();
});
