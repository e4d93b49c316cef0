import { clone, create } from '@bufbuild/protobuf';

import type { Context } from './context.js';
import {
  AbortRequest_Disposition as Disposition,
  AbortRequestSchema,
  BeginRequestSchema,
  IdempotencyService,
  LookupRequestSchema,
  State,
  type BeginRequest,
} from './gen/semel/v1/semel_pb.js';

/** How long it is tried, in milliseconds; the lease ends in any case. */
const WITHIN_MS = 2_000;

/** Gives back what may have been granted to a Begin that nobody listens to any more. It tells nobody of errors. */
export async function withdraw(context: Context, begun: BeginRequest): Promise<void> {
  const { key, attemptId } = begun;
  if (key === undefined) {
    return;
  }
  const until = performance.now() + WITHIN_MS;
  const how = () => ({ withinMs: until - performance.now(), tryMs: Math.min(WITHIN_MS, context.settings.tryTimeoutMs) });
  const { lookup, begin, abort } = IdempotencyService.method;
  try {
    const found = await context.sender.send(lookup, create(LookupRequestSchema, { key }), how());
    if (found.record?.state !== State.IN_PROGRESS) {
      return;
    }
    const again = clone(BeginRequestSchema, begun);
    delete again.wait;
    const { decision } = await context.sender.send(begin, again, how());
    if (decision.case === 'started') {
      const { fence } = decision.value;
      const given = { key, attemptId, fence, disposition: Disposition.RELEASE, detail: 'nothing ran' };
      await context.sender.send(abort, create(AbortRequestSchema, given), how());
    }
  } catch {
    // as documented
  }
}
