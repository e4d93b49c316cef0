// Works: what the driver has them do, step by step.
import { connect } from 'node:net';

import { Final, Retryable, Unknown, type Attempt, type Client, type Work } from '../src/index.js';
import { resultEvent } from './results.js';

export interface Step {
  say?: 'derived_key';
  step?: string;
  checkpoint?: { name: string; value: string };
  gate?: string;
  hold?: string;
  tell?: { address: string; text: string };
  handoff?: true;
  nested?: { endpoint: string; key: string; work: Step[] };
  return?: unknown;
  return_text?: number;
  return_unencodable?: true;
  final?: { type: string; message?: string; code?: number; details?: unknown };
  retryable?: { message: string; retry_after_ms?: number };
  unknown?: { message: string };
  timeout?: true;
  unexpected?: string;
}

/** Where a work runs. */
export interface Scene {
  readonly client: Client;
  readonly call: string;
  /** The codec is of bytes, which are hexadecimal text here. */
  readonly hex: boolean;
  readonly say: (event: Record<string, unknown>) => void;
}

interface Gate {
  readonly opened: Promise<void>;
  readonly open: () => void;
}

const gates = new Map<string, Gate>();

function gateOf(name: string): Gate {
  let gate = gates.get(name);
  if (gate === undefined) {
    let open: () => void = () => undefined;
    const opened = new Promise<void>((resolve) => {
      open = resolve;
    });
    gate = { opened, open };
    gates.set(name, gate);
  }
  return gate;
}

export function openGate(name: string): void {
  gateOf(name).open();
}

export function workOf(scene: Scene, steps: readonly Step[]): Work<unknown> {
  return async (attempt) => {
    const { call, say } = scene;
    const { fence, number, protected: isProtected } = attempt;
    const checkpoints = attempt.checkpoints.map(({ name, value }) => ({ name, value: Buffer.from(value).toString() }));
    say({ event: 'started', call, fence, attempt: number, protected: isProtected, checkpoints });
    for (const step of steps) {
      if ('return' in step) {
        return scene.hex ? Buffer.from(String(step.return), 'hex') : step.return;
      }
      if (step.return_text !== undefined) {
        return 'x'.repeat(step.return_text);
      }
      if (step.return_unencodable !== undefined) {
        return 1n;
      }
      await take(scene, attempt, step);
    }
    throw new Error('a work has an end');
  };
}

async function take(scene: Scene, attempt: Attempt, step: Step): Promise<void> {
  const { call, client, say } = scene;
  if (step.say !== undefined) {
    say({ event: 'said', call, name: 'derived_key', value: attempt.derivedKey(step.step ?? '') });
  } else if (step.checkpoint !== undefined) {
    await attempt.checkpoint(step.checkpoint.name, step.checkpoint.value);
  } else if (step.gate !== undefined || step.hold !== undefined) {
    await waitAt(scene, attempt, step);
  } else if (step.tell !== undefined) {
    await tell(step.tell.address, step.tell.text);
  } else if (step.handoff !== undefined) {
    say({ event: 'said', call, name: 'handoff', value: attempt.handoff().serialize() });
  } else if (step.nested !== undefined) {
    const { endpoint, key, work } = step.nested;
    const value = await resultEvent(() => client.once(endpoint, key, undefined, workOf({ ...scene, call: `${call}/nested` }, work)));
    say({ event: 'said', call, name: 'nested', value });
  } else {
    fail(step);
  }
}

async function waitAt({ call, say }: Scene, attempt: Attempt, { gate, hold }: Step): Promise<void> {
  const { signal } = attempt;
  const { opened } = gateOf(gate ?? hold ?? '');
  const cancelled = new Promise<'cancelled'>((resolve) => {
    const tellIt = () => {
      say({ event: 'cancelled', call });
      resolve('cancelled');
    };
    if (signal.aborted) {
      tellIt();
    }
    signal.addEventListener('abort', tellIt, { once: true });
    void opened.then(() => {
      signal.removeEventListener('abort', tellIt);
    });
  });
  say({ event: 'reached', call, gate: gate ?? hold });
  const first = await Promise.race([opened, cancelled]);
  if (first === 'cancelled') {
    if (gate !== undefined) {
      throw signal.reason;
    }
    await opened;
  }
}

function tell(address: string, text: string): Promise<void> {
  const { hostname, port } = new URL(`http://${address}`);
  return new Promise((resolve, reject) => {
    const socket = connect(Number(port), hostname, () => socket.write(`${text}\n`));
    socket.on('error', reject);
    socket.on('close', () => {
      resolve();
    });
    socket.resume();
  });
}

function fail(step: Step): never {
  if (step.final !== undefined) {
    const { type, message, code, details } = step.final;
    throw new Final(type, message, { ...(code === undefined ? {} : { code }), details });
  }
  if (step.retryable !== undefined) {
    const { message, retry_after_ms: retryAfterMs } = step.retryable;
    throw new Retryable(message, retryAfterMs === undefined ? {} : { retryAfterMs });
  }
  if (step.unknown !== undefined) {
    throw new Unknown(step.unknown.message);
  }
  if (step.timeout !== undefined) {
    throw new DOMException('the time is over', 'TimeoutError');
  }
  if (step.unexpected !== undefined) {
    throw new Error(step.unexpected);
  }
  throw new Error(`an unknown step: ${JSON.stringify(step)}`);
}
