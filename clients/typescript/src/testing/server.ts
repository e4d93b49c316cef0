import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { setTimeout as pause } from 'node:timers/promises';

/** How much of what a server complains of is kept, in characters. */
const MOST_COMPLAINTS = 4_096;

/** How a test's server is started. */
export interface TestServerOptions {
  /** The program. Default: SEMEL_BIN, else `semel` on the PATH. */
  readonly program?: string;
  /** The text of a policy file, such as `[defaults]\nlease = "5s"\n`. */
  readonly policy?: string;
  /** For how long it may take to be ready, in milliseconds. Default: 30,000. */
  readonly readyMs?: number;
}

/** A real server with its store in memory, for tests. Nothing of a user's environment reaches it. */
export class TestServer implements AsyncDisposable {
  readonly #process: ChildProcess;
  readonly #directory: string;
  readonly #kill: () => void;

  private constructor(
    /** What `ClientOptions.address` takes. */
    readonly address: string,
    process: ChildProcess,
    directory: string,
    kill: () => void,
  ) {
    this.#process = process;
    this.#directory = directory;
    this.#kill = kill;
  }

  /** Starts one on ports of its own, and gives it when it is ready. */
  static async start(options: TestServerOptions = {}): Promise<TestServer> {
    const { program = process.env['SEMEL_BIN'] ?? 'semel', policy = '', readyMs = 30_000 } = options;
    const directory = await mkdtemp(join(tmpdir(), 'semel-test-'));
    const policyFile = join(directory, 'policy.toml');
    await writeFile(policyFile, policy);
    const listening = ['--store', 'memory', '--listen', '127.0.0.1:0', '--ops-listen', '127.0.0.1:0'];
    const child = spawn(program, ['serve', ...listening, '--log-level', 'error', '--policy', policyFile], {
      cwd: directory,
      env: program.includes('/') ? {} : { PATH: process.env['PATH'] },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const kill = () => {
      child.kill('SIGKILL');
    };
    process.once('exit', kill);
    try {
      const deadline = AbortSignal.timeout(readyMs);
      const { calls, operations } = await addresses(child, program, deadline);
      await ready(operations, program, deadline);
      return new TestServer(`http://${calls}`, child, directory, kill);
    } catch (error) {
      kill();
      process.removeListener('exit', kill);
      await rm(directory, { recursive: true, force: true });
      throw error;
    }
  }

  /** Stops it, and returns when it is gone. */
  async stop(): Promise<void> {
    if (this.#process.exitCode === null && this.#process.signalCode === null) {
      const gone = once(this.#process, 'exit');
      this.#process.kill('SIGTERM');
      await gone;
    }
    process.removeListener('exit', this.#kill);
    await rm(this.#directory, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Where it says that it listens. */
async function addresses(child: ChildProcess, program: string, deadline: AbortSignal): Promise<{ calls: string; operations: string }> {
  const found: Record<string, string> = {};
  const { stdout, stderr } = child;
  if (stdout === null || stderr === null) {
    throw new Error('the outputs of a child are pipes');
  }
  let complaints = '';
  stderr.on('data', (chunk: Buffer) => {
    complaints = (complaints + chunk.toString()).slice(-MOST_COMPLAINTS);
  });
  const lines = createInterface({ input: stdout, signal: deadline });
  const failed = once(child, 'error').then(([error]) => {
    throw new Error(`cannot start ${program}: set SEMEL_BIN to the semel program, or have it on the PATH`, { cause: error });
  });
  const told = (async () => {
    for await (const line of lines) {
      const [, name = '', address = ''] = /^\s*(\S+)\s+(?:http:\/\/)?([^\s/]+)/.exec(line) ?? [];
      found[name] = address;
      const { gRPC: calls, operations } = found;
      if (calls !== undefined && operations !== undefined) {
        return { calls, operations };
      }
    }
    throw new Error(`${program} ended before it said where it listens: ${complaints}`);
  })();
  const given = await Promise.race([told, failed]);
  stdout.resume(); // whatever else it prints must not fill the pipe
  return given;
}

async function ready(operations: string, program: string, deadline: AbortSignal): Promise<void> {
  for (;;) {
    const answer = await fetch(`http://${operations}/readyz`, { signal: deadline }).catch(() => undefined);
    if (answer?.ok === true) {
      return;
    }
    if (deadline.aborted) {
      throw new Error(`${program} is not ready in time`);
    }
    await pause(5);
  }
}
