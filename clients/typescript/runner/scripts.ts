// The scripts of a fake, as the driver writes them.
import { Unresolved_Reason as UnresolvedReason } from '../src/gen/semel/v1/semel_pb.js';
import type { Failure } from '../src/index.js';
import type { FakeDecision } from '../src/testing/index.js';

interface DecisionFields {
  started?: { attempt?: number; checkpoints?: { name: string; value: string }[] };
  replayed?: { json: unknown } | { failure: Failure };
  in_progress?: { retry_after_ms?: number; attempt?: number };
  unresolved?: { reason: keyof typeof UnresolvedReason | `REASON_${string}`; detail?: string };
  fence_lost?: Record<string, never>;
  unavailable?: Record<string, never>;
}

export interface Script {
  endpoint: string;
  key: string;
  decisions: DecisionFields[];
}

export function decisionOf(fields: DecisionFields): FakeDecision {
  if (fields.started !== undefined) {
    return { started: fields.started };
  }
  if (fields.replayed !== undefined) {
    return { replayed: fields.replayed };
  }
  if (fields.in_progress !== undefined) {
    const { retry_after_ms: retryAfterMs = 50, attempt = 1 } = fields.in_progress;
    return { inProgress: { retryAfterMs, attempt } };
  }
  if (fields.unresolved !== undefined) {
    const { reason, detail = '' } = fields.unresolved;
    const name = reason.replace(/^REASON_/, '') as keyof typeof UnresolvedReason;
    return { unresolved: { reason: UnresolvedReason[name], detail } };
  }
  if (fields.fence_lost !== undefined) {
    return { fenceLost: {} };
  }
  if (fields.unavailable !== undefined) {
    return { unavailable: {} };
  }
  throw new Error(`an unknown decision: ${JSON.stringify(fields)}`);
}
