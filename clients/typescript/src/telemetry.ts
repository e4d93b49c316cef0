import type { DescMethod } from '@bufbuild/protobuf';
import {
  SpanKind,
  SpanStatusCode,
  context,
  isSpanContextValid,
  metrics,
  trace,
  type Attributes,
  type Counter,
  type Histogram,
  type Span,
  type SpanContext,
} from '@opentelemetry/api';

import { SemelError } from './errors.js';
import type { Warning } from './keys.js';
import type { Sent } from './sending.js';
import { VERSION } from './version.js';

const SCOPE = 'semel.client';

/** What a `once` tells of itself. */
export interface Told {
  readonly tenant: string;
  readonly endpoint: string;
  decision: string;
  outcome: string;
  attempt: number;
  fence: number;
  /** The traceparent of whoever did what is replayed. */
  earlier: string;
}

/** Tells OpenTelemetry, which does nothing where no SDK is set up. */
export class Telemetry {
  readonly #tracer = trace.getTracer(SCOPE, VERSION);
  readonly #once: Counter;
  readonly #duration: Histogram;
  readonly #retries: Counter;
  readonly #unprotected: Counter;
  readonly #undelivered: Counter;
  readonly #leasesLost: Counter;
  readonly #keyWarnings: Counter;

  constructor() {
    const meter = metrics.getMeter(SCOPE, VERSION);
    const counter = (name: string, description: string) => meter.createCounter(`semel.client.${name}`, { description });
    this.#once = counter('once', 'Calls of once, by what they came to');
    this.#retries = counter('retries', 'Sends of a call beyond its first');
    this.#unprotected = counter('unprotected', 'Works that ran unprotected, for semel could not be reached');
    this.#undelivered = counter('undelivered', 'Reports of attempts that could not be delivered');
    this.#leasesLost = counter('leases_lost', 'Works whose key was lost while they ran');
    this.#keyWarnings = counter('key_warnings', 'Keys that look like personal data');
    this.#duration = meter.createHistogram('semel.client.once.duration', {
      description: 'How long calls of once took, their works included',
      unit: 's',
    });
  }

  /** Makes a call within its span. `make` gets the headers of the trace, which go with every send. */
  call<T>(method: DescMethod, sent: Sent, make: (headers: readonly (readonly [string, string])[]) => Promise<T>): Promise<T> {
    const name = `${method.parent.typeName}/${method.name}`;
    const attributes = { 'rpc.system.name': 'grpc', 'rpc.method': name };
    return this.#tracer.startActiveSpan(name, { kind: SpanKind.CLIENT, attributes }, async (span) => {
      try {
        return await make(carried(span.spanContext()));
      } catch (error) {
        span.setAttribute('error.type', sent.last.code);
        span.setStatus({ code: SpanStatusCode.ERROR, message: sent.last.code });
        throw error;
      } finally {
        span.setAttributes({ 'rpc.response.status_code': sent.last.code, 'semel.client.sends': sent.sends });
        span.end();
        if (sent.sends > 1) {
          this.#retries.add(sent.sends - 1, { 'rpc.method': name, 'rpc.response.status_code': sent.last.code });
        }
      }
    });
  }

  /** Runs a `once` within its span, and counts it. */
  once<T>(told: Told, run: () => Promise<T>): Promise<T> {
    const began = performance.now();
    const attributes = { 'semel.tenant': told.tenant, 'semel.endpoint': told.endpoint };
    return this.#tracer.startActiveSpan('semel.once', { attributes }, async (span) => {
      try {
        return await run();
      } catch (error) {
        told.decision ||= decisionOf(error);
        const kind = kindOf(error);
        span.setAttribute('error.type', kind);
        span.setStatus({ code: SpanStatusCode.ERROR, message: kind });
        throw error;
      } finally {
        this.#tell(told, span, (performance.now() - began) / 1000);
      }
    });
  }

  #tell(told: Told, span: Span, seconds: number): void {
    const attributes: Attributes = { 'semel.endpoint': told.endpoint, 'semel.decision': told.decision };
    if (told.outcome !== '') {
      attributes['semel.outcome'] = told.outcome;
    }
    this.#once.add(1, attributes);
    this.#duration.record(seconds, attributes);
    span.setAttributes(attributes);
    if (told.attempt > 0) {
      span.setAttributes({ 'semel.attempt': told.attempt, 'semel.fence': told.fence });
    }
    const earlier = readTraceparent(told.earlier);
    if (earlier !== undefined) {
      span.addLink({ context: earlier, attributes: { 'semel.link': 'earlier_attempt' } });
    }
    span.end();
  }

  unprotected(endpoint: string): void {
    this.#unprotected.add(1, { 'semel.endpoint': endpoint });
  }

  undelivered(endpoint: string, method: DescMethod): void {
    this.#undelivered.add(1, { 'semel.endpoint': endpoint, 'rpc.method': `${method.parent.typeName}/${method.name}` });
  }

  leaseLost(endpoint: string): void {
    this.#leasesLost.add(1, { 'semel.endpoint': endpoint });
  }

  keyWarning(endpoint: string, warning: Warning): void {
    this.#keyWarnings.add(1, { 'semel.endpoint': endpoint, 'semel.warning': warning });
  }
}

/** The W3C trace context of a span, or of whatever is around where there is no SDK. */
function carried(own: SpanContext): [string, string][] {
  const span = isSpanContextValid(own) ? own : trace.getSpanContext(context.active());
  if (span === undefined || !isSpanContextValid(span)) {
    return [];
  }
  const flags = span.traceFlags.toString(16).padStart(2, '0');
  const headers: [string, string][] = [['traceparent', `00-${span.traceId}-${span.spanId}-${flags}`]];
  const state = span.traceState?.serialize() ?? '';
  if (state !== '') {
    headers.push(['tracestate', state]);
  }
  return headers;
}

function readTraceparent(text: string): SpanContext | undefined {
  const [, traceId, spanId, flags] = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})/.exec(text) ?? [];
  if (traceId === undefined || spanId === undefined || flags === undefined) {
    return undefined;
  }
  const read = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return isSpanContextValid(read) ? read : undefined;
}

/** The server's word for an error of Begin. */
function decisionOf(error: unknown): string {
  if (!(error instanceof SemelError)) {
    return 'cancelled';
  }
  switch (error.kind) {
    case 'KeyMismatch':
      return 'mismatch';
    case 'KeyExpired':
      return 'expired';
    case 'StoreUnavailable':
      return 'unavailable';
    case 'Invalid':
      return 'invalid';
    case 'LeaseLost':
      return 'attempt_ended';
    case 'Exhausted':
      return 'quota_exceeded';
    case 'NotAllowed':
      return error.code === 'PERMISSION_DENIED' ? 'denied' : 'unauthenticated';
    default:
      return 'internal';
  }
}

/** The name of an error in all languages. */
function kindOf(error: unknown): string {
  if (error instanceof SemelError) {
    return error.kind;
  }
  return (error as { name?: unknown } | undefined)?.name === 'AbortError' ? 'Cancelled' : 'Own';
}
